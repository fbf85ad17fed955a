output "variables" {
  description = "The container's environment; it holds no secret. PORT is Cloud Run's."
  value       = local.variables
}

output "exports" {
  description = "The same for a shell."
  value       = join("\n", [for name, value in local.variables : "export ${name}='${replace(value, "'", "'\\''")}'"])
}

output "secret_ids" {
  description = "The secrets in Secret Manager, by the variable that names them."
  value       = local.secret_ids
}

output "service_url" {
  description = "The service's deterministic URL."
  value       = local.service_url
}

output "public_url" {
  description = "How the world reaches the service."
  value       = local.public_url
}

output "topic" {
  description = "The topic that requests are stored in."
  value       = local.topic
}

output "dead_letter_topic" {
  description = "The topic of what could not be delivered."
  value       = local.dead_letter_topic
}

output "push_endpoint" {
  description = "Where Pub/Sub plays back to; also the audience of its token."
  value       = local.push_endpoint
}

output "push_account_id" {
  description = "The id of the service account that Pub/Sub signs pushes as."
  value       = local.push_account_id
}
