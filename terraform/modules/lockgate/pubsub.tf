locals {
  # Pub/Sub's own account in this project. `gcloud beta services identity create` makes it, as does the
  # first use of the service.
  pubsub_agent = "serviceAccount:service-${var.project_number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

resource "google_pubsub_topic" "main" {
  count = var.log ? 1 : 0

  project = var.project
  name    = module.environment.topic
}

resource "google_pubsub_topic" "dead" {
  count = var.log ? 1 : 0

  project = var.project
  name    = module.environment.dead_letter_topic
}

resource "google_pubsub_subscription" "playback" {
  count = var.log ? 1 : 0

  project = var.project
  name    = "${var.name}-playback"
  topic   = google_pubsub_topic.main[0].id

  # The longest that Pub/Sub allows; the upstream's time, and both checks around it, are within.
  ack_deadline_seconds = 600

  push_config {
    push_endpoint = module.environment.push_endpoint

    oidc_token {
      service_account_email = google_service_account.push[0].email
      audience              = module.environment.push_endpoint
    }
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  # About 16 hours of an upstream that is not there.
  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead[0].id
    max_delivery_attempts = 100
  }

  # Never. By default a subscription without traffic is deleted after 31 days, and its messages with it.
  expiration_policy {
    ttl = ""
  }

  # Without it every push is refused, and Pub/Sub backs off.
  depends_on = [google_service_account_iam_member.push]
}

# What is published to a topic without a subscription is lost.
resource "google_pubsub_subscription" "dead" {
  count = var.log ? 1 : 0

  project = var.project
  name    = module.environment.dead_letter_topic
  topic   = google_pubsub_topic.dead[0].id

  ack_deadline_seconds = 600
  # 31 days, the longest there is.
  message_retention_duration = "2678400s"

  expiration_policy {
    ttl = ""
  }
}

resource "google_pubsub_topic_iam_member" "run_publishes" {
  count = var.log ? 1 : 0

  project = var.project
  topic   = google_pubsub_topic.main[0].name
  role    = "roles/pubsub.publisher"
  member  = google_service_account.run.member
}

# What can never be delivered is published there by the proxy itself.
resource "google_pubsub_topic_iam_member" "run_buries" {
  count = var.log ? 1 : 0

  project = var.project
  topic   = google_pubsub_topic.dead[0].name
  role    = "roles/pubsub.publisher"
  member  = google_service_account.run.member
}

# A dead-letter policy takes both: publishing to the one topic, and acknowledging in the subscription.
resource "google_pubsub_topic_iam_member" "agent_buries" {
  count = var.log ? 1 : 0

  project = var.project
  topic   = google_pubsub_topic.dead[0].name
  role    = "roles/pubsub.publisher"
  member  = local.pubsub_agent
}

resource "google_pubsub_subscription_iam_member" "agent_acknowledges" {
  count = var.log ? 1 : 0

  project      = var.project
  subscription = google_pubsub_subscription.playback[0].name
  role         = "roles/pubsub.subscriber"
  member       = local.pubsub_agent
}

resource "google_service_account_iam_member" "push" {
  count = var.log ? 1 : 0

  service_account_id = google_service_account.push[0].name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = local.pubsub_agent
}
