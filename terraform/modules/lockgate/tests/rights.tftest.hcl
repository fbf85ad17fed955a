# Who may do what; a test outside of Terraform holds the whole list.

mock_provider "google" {
  override_resource {
    target = google_service_account.run
    values = { member = "serviceAccount:lockgate-run@my-project.iam.gserviceaccount.com" }
  }
  override_resource {
    target = google_service_account.push
    values = {
      name   = "projects/my-project/serviceAccounts/lockgate-push@my-project.iam.gserviceaccount.com"
      member = "serviceAccount:lockgate-push@my-project.iam.gserviceaccount.com"
    }
  }
  override_resource {
    target = google_cloud_run_v2_service.main
    values = { urls = ["https://lockgate-123456789012.europe-west1.run.app"] }
  }
}

variables {
  project           = "my-project"
  project_number    = "123456789012"
  region            = "europe-west1"
  upstream_url      = "https://my-service-123456789012.europe-west1.run.app"
  upstream_identity = { service = { name = "my-service" } }
  image             = "europe-west1-docker.pkg.dev/my-project/lockgate/lockgate:test"
}

run "closed_to_the_public" {
  variables {
    invokers = ["group:team@example.com"]
  }

  assert {
    condition     = [for grant in google_cloud_run_v2_service_iam_member.invokers : grant.member] == ["group:team@example.com"]
    error_message = "only those named are let through by Cloud Run"
  }
  assert {
    condition     = google_cloud_run_v2_service_iam_member.push[0].member == "serviceAccount:lockgate-push@my-project.iam.gserviceaccount.com"
    error_message = "pushes still reach the service"
  }
}

run "the_upstream_is_elsewhere" {
  variables {
    upstream_identity = {
      audience = "https://audience.example.com"
      header   = "x-serverless-authorization"
      service  = { name = "other", location = "us-central1", project = "other-project" }
    }
  }

  assert {
    condition = [for grant in google_cloud_run_v2_service_iam_member.upstream : [grant.project, grant.location, grant.name, grant.role, grant.member]] == [[
      "other-project", "us-central1", "other", "roles/run.invoker", "serviceAccount:lockgate-run@my-project.iam.gserviceaccount.com",
    ]]
    error_message = "the running account may invoke the upstream, and only that"
  }
  assert {
    condition = (
      module.environment.variables.UPSTREAM_AUDIENCE == "https://audience.example.com"
      && module.environment.variables.UPSTREAM_IDENTITY_HEADER == "x-serverless-authorization"
    )
    error_message = "the audience and the header are as asked for"
  }
}
