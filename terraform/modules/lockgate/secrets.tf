# Secrets without a version: a value that Terraform knew would stand in its state. The output
# secret_commands has the command that adds each.
resource "google_secret_manager_secret" "main" {
  for_each = module.environment.secret_ids

  project   = var.project
  secret_id = each.value

  replication {
    auto {}
  }
}

resource "google_secret_manager_secret_iam_member" "run" {
  for_each = google_secret_manager_secret.main

  project   = var.project
  secret_id = each.value.secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.run.member
}
