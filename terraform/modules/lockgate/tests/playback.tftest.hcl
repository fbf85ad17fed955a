# What is stored is delivered, or kept where it can be seen.

mock_provider "google" {
  override_resource {
    target = google_service_account.push
    values = { email = "lockgate-push@my-project.iam.gserviceaccount.com" }
  }
}

variables {
  project        = "my-project"
  project_number = "123456789012"
  region         = "europe-west1"
  upstream_url   = "https://my-service-123456789012.europe-west1.run.app"
}

run "playback" {
  assert {
    condition     = one(google_pubsub_subscription.playback[0].push_config).push_endpoint == "https://lockgate-123456789012.europe-west1.run.app/wal-playback"
    error_message = "pushes go to the service's own address, which is known before it"
  }
  assert {
    condition = one(one(google_pubsub_subscription.playback[0].push_config).oidc_token) == {
      audience              = "https://lockgate-123456789012.europe-west1.run.app/wal-playback"
      service_account_email = "lockgate-push@my-project.iam.gserviceaccount.com"
    }
    error_message = "a push brings a token of the pushing account, for this endpoint alone"
  }
  assert {
    condition = (
      module.environment.variables.PUSH_AUDIENCE == one(one(google_pubsub_subscription.playback[0].push_config).oidc_token).audience
      && module.environment.variables.PUSH_SERVICE_ACCOUNT == google_service_account.push[0].email
    )
    error_message = "the filter expects the token that Pub/Sub brings"
  }
  assert {
    condition     = one(google_pubsub_subscription.playback[0].retry_policy) == { minimum_backoff = "10s", maximum_backoff = "600s" }
    error_message = "a request that cannot be taken now comes again after 10 s to 10 min"
  }
  assert {
    condition     = one(google_pubsub_subscription.playback[0].dead_letter_policy).max_delivery_attempts == 100
    error_message = "a request is given up after a hundred attempts, about 16 hours"
  }
  assert {
    condition = alltrue([
      for subscription in [google_pubsub_subscription.playback[0], google_pubsub_subscription.dead[0]] :
      one(subscription.expiration_policy).ttl == ""
    ])
    error_message = "no subscription is deleted for want of traffic"
  }
  assert {
    condition     = google_pubsub_subscription.dead[0].message_retention_duration == "${31 * 24 * 60 * 60}s"
    error_message = "dead letters are kept for 31 days"
  }
  assert {
    condition     = length(google_pubsub_subscription.dead[0].push_config) == 0
    error_message = "dead letters wait until somebody fetches them"
  }
  assert {
    condition = (
      google_pubsub_subscription.playback[0].topic == google_pubsub_topic.main[0].id
      && one(google_pubsub_subscription.playback[0].dead_letter_policy).dead_letter_topic == google_pubsub_topic.dead[0].id
      && google_pubsub_subscription.dead[0].topic == google_pubsub_topic.dead[0].id
    )
    error_message = "what is given up in the one subscription is found in the other"
  }
}
