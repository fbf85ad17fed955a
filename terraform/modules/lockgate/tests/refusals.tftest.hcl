# What would not work is refused before anything is made, with an example of what would.

mock_provider "google" {}

variables {
  project        = "my-project"
  project_number = "123456789012"
  region         = "europe-west1"
  upstream_url   = "https://my-service-123456789012.europe-west1.run.app"
}

run "what_the_module_itself_takes" {
  command = plan

  variables {
    image                 = "lockgate"
    memory                = "256Mi"
    min_instances         = -1
    concurrency           = 1001
    invokers              = ["everybody"]
    alerts                = { oldest_message = 1 }
    notification_channels = ["me@example.com"]
  }

  expect_failures = [
    var.image, var.memory, var.min_instances, var.concurrency, var.invokers, var.alerts, var.notification_channels,
  ]
}

run "fewer_instances_than_the_fewest" {
  command = plan

  variables {
    min_instances = 2
    max_instances = 1
  }

  expect_failures = [var.max_instances]
}

# With the number of another project, pushes would go to a stranger.
run "an_address_that_cloud_run_does_not_give" {
  variables {
    image          = "europe-west1-docker.pkg.dev/my-project/lockgate/lockgate:test"
    project_number = "999999999999"
  }

  override_resource {
    target = google_cloud_run_v2_service.main
    values = { urls = ["https://lockgate-123456789012.europe-west1.run.app"] }
  }

  expect_failures = [google_cloud_run_v2_service.main]
}
