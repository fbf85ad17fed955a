module "environment" {
  source = "../environment"

  name              = var.name
  project           = var.project
  project_number    = var.project_number
  region            = var.region
  public_url        = var.public_url
  upstream_url      = var.upstream_url
  upstream_identity = var.upstream_identity
  sign_in           = var.sign_in
  log               = var.log
  slack             = var.slack
  cpu               = var.cpu
  environment       = var.environment
  secrets           = var.secrets
}

# Two accounts, so that what Pub/Sub signs a push as may neither publish nor read a secret, and what the
# proxy runs as cannot sign a push.
resource "google_service_account" "run" {
  project      = var.project
  account_id   = "${var.name}-run"
  display_name = "Lockgate: what the service runs as"
}

resource "google_service_account" "push" {
  count = var.log ? 1 : 0

  project      = var.project
  account_id   = module.environment.push_account_id
  display_name = "Lockgate: what Pub/Sub signs pushes as"
}

resource "google_artifact_registry_repository" "main" {
  project       = var.project
  location      = var.region
  repository_id = var.name
  description   = "Lockgate's image"
  format        = "DOCKER"
}
