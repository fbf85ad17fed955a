# The smallest use of the module. Its types, its checks and what else can be set are in
# modules/lockgate/variables.tf.
module "lockgate" {
  source = "../../modules/lockgate"

  project               = var.project
  project_number        = var.project_number
  region                = var.region
  image                 = var.image
  upstream_url          = var.upstream_url
  upstream_identity     = var.upstream_identity
  sign_in               = var.sign_in
  slack                 = var.slack
  notification_channels = var.notification_channels
}
