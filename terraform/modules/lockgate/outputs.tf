locals {
  dead_letter_subscription = "projects/${var.project}/subscriptions/${module.environment.dead_letter_topic}"

  list_command   = "GOOGLE_ACCESS_TOKEN=$(gcloud auth print-access-token) lockgate replay --subscription ${local.dead_letter_subscription}"
  replay_command = "${local.list_command} --to projects/${var.project}/topics/${module.environment.topic}"

  # What writes a secret's value to the pipe; what a provider or Slack shows is asked for, unseen.
  secret_sources = {
    ASSERTION_KEY = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256"
    COOKIE_SECRET = "openssl rand -base64 32 | tr -d '\\n'"
    LOG_KEY       = "openssl rand -base64 32 | tr -d '\\n'"
  }
}

output "service_url" {
  description = "The service's URL, known before the service is."
  value       = module.environment.service_url
}

output "slack_request_urls" {
  description = "The request URLs for Slack's app settings; null without Slack."
  value = !var.slack ? null : {
    slash_commands = "${module.environment.public_url}/slack/command"
    events         = "${module.environment.public_url}/slack/event"
    interactivity  = "${module.environment.public_url}/slack/interactive"
  }
}

output "sign_in_redirect_uri" {
  description = "The redirect URI to register at the sign-in provider."
  value       = "${module.environment.public_url}/_lockgate/callback"
}

output "sign_in_post_logout_redirect_uri" {
  description = "The post-logout redirect URI, for a provider that signs people out."
  value       = "${module.environment.public_url}/_lockgate/signed-out"
}

output "image_repository" {
  description = "Where the image is pushed to."
  value       = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.main.repository_id}"
}

output "secret_commands" {
  description = "The command that adds each secret's value, as a new version; Terraform never sees it."
  value = {
    for name, secret in google_secret_manager_secret.main : name => join(" | ", [
      lookup(local.secret_sources, name, "bash -c 'read -rsp \"${name}: \" value && printf %s \"$value\"'"),
      "gcloud secrets versions add ${secret.secret_id} --project ${var.project} --data-file=-",
    ])
  }
}

output "run_service_account" {
  description = "What the service runs as; a private upstream lets it in."
  value       = google_service_account.run.email
}

output "dead_letter_subscription" {
  description = "The subscription that keeps dead letters; null without the log."
  value       = var.log ? local.dead_letter_subscription : null
}

output "list_dead_letters_command" {
  description = "Lists the dead letters; null without the log."
  value       = var.log ? local.list_command : null
}

output "replay_command" {
  description = "Delivers the dead letters again; null without the log."
  value       = var.log ? local.replay_command : null
}

output "environment" {
  description = "The container's environment, for a shell; `lockgate render` makes Envoy's configuration of it. It holds no secret."
  value       = module.environment.exports
}
