resource "google_monitoring_alert_policy" "dead_letters" {
  count = var.alerts != null && var.log ? 1 : 0

  project               = var.project
  display_name          = "${var.name}: dead letters"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = var.notification_channels

  conditions {
    display_name = "A request could not be delivered"

    condition_threshold {
      filter = join(" AND ", [
        "resource.type = \"pubsub_subscription\"",
        "resource.labels.subscription_id = \"${google_pubsub_subscription.dead[0].name}\"",
        "metric.type = \"pubsub.googleapis.com/subscription/num_undelivered_messages\"",
      ])
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"

      aggregations {
        alignment_period   = "60s"
        per_series_aligner = "ALIGN_MAX"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = <<-EOT
      Requests were accepted that the upstream refused for good, or did not take in a hundred attempts. They are kept for 31 days.

      List them, with the reason: `${local.list_command}`

      Once the cause is mended, deliver them: `${local.replay_command}`
    EOT
  }
}

resource "google_monitoring_alert_policy" "oldest_message" {
  count = var.alerts != null && var.log ? 1 : 0

  project               = var.project
  display_name          = "${var.name}: requests wait"
  combiner              = "OR"
  severity              = "WARNING"
  notification_channels = var.notification_channels

  conditions {
    display_name = "A stored request has waited for more than ${var.alerts.oldest_message} s"

    condition_threshold {
      filter = join(" AND ", [
        "resource.type = \"pubsub_subscription\"",
        "resource.labels.subscription_id = \"${google_pubsub_subscription.playback[0].name}\"",
        "metric.type = \"pubsub.googleapis.com/subscription/oldest_unacked_message_age\"",
      ])
      comparison      = "COMPARISON_GT"
      threshold_value = var.alerts.oldest_message
      duration        = "0s"

      aggregations {
        alignment_period   = "60s"
        per_series_aligner = "ALIGN_MAX"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "The upstream does not take what is played back to it. It is tried again for about 16 hours from its arrival, then it becomes a dead letter. The service's log has a line for each attempt."
  }
}

resource "google_monitoring_alert_policy" "server_errors" {
  count = var.alerts == null ? 0 : 1

  project               = var.project
  display_name          = "${var.name}: server errors"
  combiner              = "OR"
  severity              = "ERROR"
  notification_channels = var.notification_channels

  conditions {
    display_name = "More than ${var.alerts.server_errors} answers with 5xx in five minutes"

    condition_threshold {
      filter = join(" AND ", [
        "resource.type = \"cloud_run_revision\"",
        "resource.labels.service_name = \"${var.name}\"",
        "resource.labels.location = \"${var.region}\"",
        "metric.type = \"run.googleapis.com/request_count\"",
        "metric.labels.response_code_class = \"5xx\"",
      ])
      comparison      = "COMPARISON_GT"
      threshold_value = var.alerts.server_errors
      duration        = "0s"

      aggregations {
        alignment_period     = "300s"
        per_series_aligner   = "ALIGN_DELTA"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    content   = "Each refusal is a line in the service's log, `lockgate filter=… refused reason=…`. An answer of 5xx to /wal-playback makes Pub/Sub try again; any other was seen by its caller."
  }
}
