resource "google_cloud_run_v2_service" "main" {
  # Without the image and the secrets' values it could not start, and Terraform would wait for it in vain.
  count = var.image == null ? 0 : 1

  project             = var.project
  location            = var.region
  name                = var.name
  ingress             = "INGRESS_TRAFFIC_ALL"
  deletion_protection = var.deletion_protection

  template {
    service_account = google_service_account.run.email
    # Longer than Pub/Sub waits for an answer, so that a playback is never cut off from outside.
    timeout = "900s"
    # A session that one instance has just refreshed is known there.
    session_affinity                 = true
    max_instance_request_concurrency = var.concurrency

    scaling {
      min_instance_count = var.min_instances
      max_instance_count = var.max_instances
    }

    containers {
      image = var.image

      ports {
        container_port = 8080
      }

      resources {
        limits = {
          cpu    = tostring(var.cpu)
          memory = var.memory
        }
        # Nothing is left to do once a request is answered.
        cpu_idle          = true
        startup_cpu_boost = true
      }

      dynamic "env" {
        for_each = module.environment.variables

        content {
          name  = env.key
          value = env.value
        }
      }

      # 204 once the filters have their keys and secrets. A revision that lacks one takes no traffic.
      startup_probe {
        period_seconds    = 1
        timeout_seconds   = 1
        failure_threshold = 60

        http_get {
          path = "/_lockgate/ready"
        }
      }

      # An instance does not end because Secret Manager is away, so this asks for less.
      liveness_probe {
        period_seconds    = 30
        timeout_seconds   = 5
        failure_threshold = 3

        http_get {
          path = "/_lockgate/health"
        }
      }
    }
  }

  lifecycle {
    postcondition {
      condition     = contains(self.urls, module.environment.service_url)
      error_message = "Cloud Run did not give the service the URL ${module.environment.service_url}: is project_number the number of the project?"
    }
  }

  # The first instance needs them before it is ready.
  depends_on = [
    google_pubsub_topic_iam_member.run_publishes,
    google_secret_manager_secret_iam_member.run,
  ]
}

resource "google_cloud_run_v2_service_iam_member" "invokers" {
  for_each = var.image == null ? [] : var.invokers

  project  = var.project
  location = var.region
  name     = google_cloud_run_v2_service.main[0].name
  role     = "roles/run.invoker"
  member   = each.value
}

# Of use where `invokers` lets not everybody in: Pub/Sub still has to.
resource "google_cloud_run_v2_service_iam_member" "push" {
  count = var.image != null && var.log ? 1 : 0

  project  = var.project
  location = var.region
  name     = google_cloud_run_v2_service.main[0].name
  role     = "roles/run.invoker"
  member   = google_service_account.push[0].member
}

resource "google_cloud_run_v2_service_iam_member" "upstream" {
  count = try(var.upstream_identity.service, null) == null ? 0 : 1

  project  = coalesce(var.upstream_identity.service.project, var.project)
  location = coalesce(var.upstream_identity.service.location, var.region)
  name     = var.upstream_identity.service.name
  role     = "roles/run.invoker"
  member   = google_service_account.run.member
}
