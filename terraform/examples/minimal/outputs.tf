output "service_url" {
  description = "The service's URL."
  value       = module.lockgate.service_url
}

output "slack_request_urls" {
  description = "The request URLs for Slack's app settings."
  value       = module.lockgate.slack_request_urls
}

output "sign_in_redirect_uri" {
  description = "The redirect URI to register at the sign-in provider."
  value       = module.lockgate.sign_in_redirect_uri
}

output "sign_in_post_logout_redirect_uri" {
  description = "The post-logout redirect URI, for a provider that signs people out."
  value       = module.lockgate.sign_in_post_logout_redirect_uri
}

output "image_repository" {
  description = "Where the image is pushed to."
  value       = module.lockgate.image_repository
}

output "secret_commands" {
  description = "The commands that add the secrets' values, for a shell."
  value       = join("\n", values(module.lockgate.secret_commands))
}

output "run_service_account" {
  description = "What the service runs as."
  value       = module.lockgate.run_service_account
}

output "dead_letter_subscription" {
  description = "The subscription that keeps dead letters."
  value       = module.lockgate.dead_letter_subscription
}

output "list_dead_letters_command" {
  description = "Lists the dead letters."
  value       = module.lockgate.list_dead_letters_command
}

output "replay_command" {
  description = "Delivers the dead letters again."
  value       = module.lockgate.replay_command
}

output "environment" {
  description = "The container's environment, for a shell."
  value       = module.lockgate.environment
}
