# The service as Cloud Run runs it.

mock_provider "google" {
  override_resource {
    target = google_service_account.run
    values = { email = "lockgate-run@my-project.iam.gserviceaccount.com" }
  }
  override_resource {
    target = google_cloud_run_v2_service.main
    values = { urls = ["https://lockgate-123456789012.europe-west1.run.app"] }
  }
}

variables {
  project        = "my-project"
  project_number = "123456789012"
  region         = "europe-west1"
  upstream_url   = "https://my-service-123456789012.europe-west1.run.app"
  image          = "europe-west1-docker.pkg.dev/my-project/lockgate/lockgate:test"
  slack          = true
}

run "service" {
  assert {
    condition     = one(google_cloud_run_v2_service.main[0].template).service_account == "lockgate-run@my-project.iam.gserviceaccount.com"
    error_message = "the service runs as the account made for it, not as the project's default"
  }
  assert {
    condition     = one(google_cloud_run_v2_service.main[0].template).timeout == "900s"
    error_message = "a playback is never cut off from outside"
  }
  assert {
    condition     = one(google_cloud_run_v2_service.main[0].template).session_affinity
    error_message = "a session stays with the instance that knows it"
  }
  assert {
    condition     = one(one(one(one(google_cloud_run_v2_service.main[0].template).containers).startup_probe).http_get).path == "/_lockgate/ready"
    error_message = "an instance without its keys and secrets takes no traffic"
  }
  assert {
    condition     = one(one(one(one(google_cloud_run_v2_service.main[0].template).containers).liveness_probe).http_get).path == "/_lockgate/health"
    error_message = "an instance does not end because a secret cannot be fetched"
  }
  # 240 s is the most that Cloud Run takes.
  assert {
    condition = alltrue([
      for probe in [one(one(one(google_cloud_run_v2_service.main[0].template).containers).startup_probe)] :
      probe.period_seconds * probe.failure_threshold <= 240 && probe.timeout_seconds <= probe.period_seconds
    ])
    error_message = "the probe is within Cloud Run's limits"
  }
  assert {
    condition     = { for env in one(one(google_cloud_run_v2_service.main[0].template).containers).env : env.name => env.value } == module.environment.variables
    error_message = "the container has the environment that a laptop renders"
  }
  assert {
    condition     = one(one(one(google_cloud_run_v2_service.main[0].template).containers).resources).limits.cpu == module.environment.variables.ENVOY_CONCURRENCY
    error_message = "Envoy has a worker for each processor"
  }
  assert {
    condition     = !contains(keys(module.environment.variables), "PORT")
    error_message = "PORT is Cloud Run's, which refuses a service that sets it"
  }
}

run "what_a_person_needs_next" {
  variables {
    sign_in = { provider = { client_id = "client" }, email_domains = ["example.com"], assertion = true }
  }

  assert {
    condition     = output.service_url == "https://lockgate-123456789012.europe-west1.run.app"
    error_message = "the URL is known before the service"
  }
  assert {
    condition = output.slack_request_urls == {
      slash_commands = "https://lockgate-123456789012.europe-west1.run.app/slack/command"
      events         = "https://lockgate-123456789012.europe-west1.run.app/slack/event"
      interactivity  = "https://lockgate-123456789012.europe-west1.run.app/slack/interactive"
    }
    error_message = "Slack's request URLs"
  }
  assert {
    condition     = output.sign_in_redirect_uri == "https://lockgate-123456789012.europe-west1.run.app/_lockgate/callback"
    error_message = "the redirect URI"
  }
  assert {
    condition     = output.sign_in_post_logout_redirect_uri == "https://lockgate-123456789012.europe-west1.run.app/_lockgate/signed-out"
    error_message = "the post-logout redirect URI"
  }
  assert {
    condition     = output.image_repository == "europe-west1-docker.pkg.dev/my-project/lockgate"
    error_message = "the image repository"
  }
  assert {
    condition     = output.dead_letter_subscription == "projects/my-project/subscriptions/${google_pubsub_subscription.dead[0].name}"
    error_message = "the dead letters' subscription"
  }
  assert {
    condition     = endswith(output.replay_command, "lockgate replay --subscription projects/my-project/subscriptions/lockgate-dead --to projects/my-project/topics/${google_pubsub_topic.main[0].name}")
    error_message = "the command that delivers dead letters again"
  }
  assert {
    condition     = keys(output.secret_commands) == ["ASSERTION_KEY", "COOKIE_SECRET", "LOG_KEY", "OIDC_CLIENT_SECRET", "SLACK_SIGNING_SECRET"]
    error_message = "each secret has its command"
  }
  assert {
    condition = alltrue([
      for name, command in output.secret_commands :
      endswith(command, "| gcloud secrets versions add ${google_secret_manager_secret.main[name].secret_id} --project my-project --data-file=-")
      && module.environment.variables[name] == "sm://projects/my-project/secrets/${google_secret_manager_secret.main[name].secret_id}/versions/latest"
    ])
    error_message = "the command adds to the secret that the filter reads"
  }
}

run "a_domain_of_ones_own" {
  variables {
    public_url = "https://app.example.com"
  }

  assert {
    condition     = module.environment.variables.PUBLIC_URL == "https://app.example.com" && startswith(output.sign_in_redirect_uri, "https://app.example.com/")
    error_message = "people and Slack come by the domain"
  }
  assert {
    condition     = one(google_pubsub_subscription.playback[0].push_config).push_endpoint == "https://lockgate-123456789012.europe-west1.run.app/wal-playback"
    error_message = "pushes do not depend on the domain"
  }
}
