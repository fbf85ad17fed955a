# The example with the values of terraform.tfvars.example and an image:
# terraform test -var-file=terraform.tfvars.example

mock_provider "google" {
  override_resource {
    target = module.lockgate.google_service_account.run
    values = {
      email  = "lockgate-run@my-project.iam.gserviceaccount.com"
      member = "serviceAccount:lockgate-run@my-project.iam.gserviceaccount.com"
    }
  }
  override_resource {
    target = module.lockgate.google_service_account.push
    values = {
      name   = "projects/my-project/serviceAccounts/lockgate-push@my-project.iam.gserviceaccount.com"
      email  = "lockgate-push@my-project.iam.gserviceaccount.com"
      member = "serviceAccount:lockgate-push@my-project.iam.gserviceaccount.com"
    }
  }
  override_resource {
    target = module.lockgate.google_cloud_run_v2_service.main
    values = { urls = ["https://lockgate-123456789012.europe-west1.run.app"] }
  }
}

variables {
  image = "europe-west1-docker.pkg.dev/my-project/lockgate/lockgate:test"
}

run "one_apply" {
  assert {
    condition     = output.service_url == "https://lockgate-123456789012.europe-west1.run.app"
    error_message = "the service's URL is known before it"
  }
}
