# Each group is wholly there or wholly absent, as in the product.

mock_provider "google" {}

variables {
  project        = "my-project"
  project_number = "123456789012"
  region         = "europe-west1"
  upstream_url   = "https://my-service-123456789012.europe-west1.run.app"
}

run "before_the_image_everything_but_the_service" {
  command = plan

  assert {
    condition = (
      length(google_cloud_run_v2_service.main) + length(google_cloud_run_v2_service_iam_member.invokers) + length(google_cloud_run_v2_service_iam_member.push) == 0
    )
    error_message = "nothing is started before it can start"
  }
  assert {
    condition = (
      length(google_secret_manager_secret.main) == 1 && length(google_pubsub_subscription.playback) == 1
      && length(google_monitoring_alert_policy.server_errors) == 1
    )
    error_message = "everything else is there"
  }
}

run "without_the_log" {
  command = plan

  variables {
    log = false
  }

  assert {
    condition = (
      length(google_pubsub_topic.main) + length(google_pubsub_topic.dead) + length(google_pubsub_subscription.playback)
      + length(google_pubsub_subscription.dead) + length(google_service_account.push) + length(google_secret_manager_secret.main)
      + length(google_monitoring_alert_policy.dead_letters) + length(google_monitoring_alert_policy.oldest_message) == 0
    )
    error_message = "nothing of the log is made"
  }
  assert {
    condition     = keys(module.environment.variables) == ["ENVOY_CONCURRENCY", "GOOGLE_CLOUD_PROJECT", "LISTEN_ADDRESS", "LOG_FORMAT", "PUBLIC_URL", "TRUSTED_HOPS", "UPSTREAM_URL"]
    error_message = "no variable of the log is set"
  }
  assert {
    condition     = output.dead_letter_subscription == null && output.list_dead_letters_command == null && output.replay_command == null && output.slack_request_urls == null
    error_message = "nothing is said of what is not there"
  }
}

run "without_alerts" {
  command = plan

  variables {
    alerts = null
  }

  assert {
    condition = (
      length(google_monitoring_alert_policy.dead_letters) + length(google_monitoring_alert_policy.oldest_message)
      + length(google_monitoring_alert_policy.server_errors) == 0
    )
    error_message = "no alert is made"
  }
}

run "alerts" {
  command = plan

  variables {
    alerts                = { oldest_message = 600 }
    notification_channels = ["projects/my-project/notificationChannels/1234567890"]
  }

  assert {
    condition = alltrue([
      for policy in [google_monitoring_alert_policy.dead_letters[0], google_monitoring_alert_policy.oldest_message[0], google_monitoring_alert_policy.server_errors[0]] :
      policy.notification_channels == tolist(["projects/my-project/notificationChannels/1234567890"])
    ])
    error_message = "each alert is told to whom it concerns"
  }
  assert {
    condition = [
      for policy in [google_monitoring_alert_policy.dead_letters[0], google_monitoring_alert_policy.oldest_message[0], google_monitoring_alert_policy.server_errors[0]] :
      one(one(policy.conditions).condition_threshold).threshold_value
    ] == [0, 600, 10]
    error_message = "one dead letter is one too many; the others are as asked for"
  }
  assert {
    condition = (
      strcontains(one(one(google_monitoring_alert_policy.dead_letters[0].conditions).condition_threshold).filter, "\"${google_pubsub_subscription.dead[0].name}\"")
      && strcontains(one(one(google_monitoring_alert_policy.oldest_message[0].conditions).condition_threshold).filter, "\"${google_pubsub_subscription.playback[0].name}\"")
    )
    error_message = "each alert looks at the subscription that it speaks of"
  }
}

run "a_configuration_of_ones_own" {
  command = plan

  variables {
    environment = { LOCKGATE_CONFIG = "/etc/lockgate/mine.yaml", TRUSTED_HOPS = "2" }
    secrets     = ["WEBHOOK_KEY"]
  }

  assert {
    condition = (
      module.environment.variables.LOCKGATE_CONFIG == "/etc/lockgate/mine.yaml" && module.environment.variables.TRUSTED_HOPS == "2"
      && module.environment.variables.WEBHOOK_KEY == "sm://projects/my-project/secrets/lockgate-webhook-key/versions/latest"
    )
    error_message = "it finds its variables and its secrets"
  }
  assert {
    condition     = google_secret_manager_secret_iam_member.run["WEBHOOK_KEY"].role == "roles/secretmanager.secretAccessor"
    error_message = "its secrets can be read"
  }
}
