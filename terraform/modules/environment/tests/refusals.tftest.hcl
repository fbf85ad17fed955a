# What would not work is refused before anything is made, with an example of what would.

variables {
  project        = "my-project"
  project_number = "123456789012"
  region         = "europe-west1"
  upstream_url   = "https://my-service-123456789012.europe-west1.run.app"
}

run "names_and_addresses" {
  command = plan

  variables {
    name           = "Lockgate"
    project        = "123456789012"
    project_number = "my-project"
    region         = "EU"
    public_url     = "https://app.example.com/path"
    upstream_url   = "my-service"
    cpu            = 0.5
    environment    = { PORT = "80" }
    secrets        = ["webhook key"]
  }

  expect_failures = [
    var.name, var.project, var.project_number, var.region, var.public_url, var.upstream_url, var.cpu, var.environment, var.secrets,
  ]
}

run "a_secret_value_is_refused" {
  command = plan

  variables {
    environment = { SLACK_SIGNING_SECRET = "value" }
  }

  expect_failures = [var.environment]
}

run "slack_without_the_log" {
  command = plan

  variables {
    log   = false
    slack = true
  }

  expect_failures = [var.slack]
}

run "an_identity_over_plain_http" {
  command = plan

  variables {
    upstream_url      = "http://10.0.0.1:8080"
    upstream_identity = {}
  }

  expect_failures = [var.upstream_identity]
}

run "an_identity_in_another_header" {
  command = plan

  variables {
    upstream_identity = { header = "cookie" }
  }

  expect_failures = [var.upstream_identity]
}

run "a_sign_in_for_nobody" {
  command = plan

  variables {
    sign_in = {}
  }

  expect_failures = [var.sign_in]
}

run "a_sign_in_that_does_not_say_who" {
  command = plan

  variables {
    sign_in = { provider = { client_id = "client" } }
  }

  expect_failures = [var.sign_in]
}

run "everyone_and_a_domain" {
  command = plan

  variables {
    sign_in = { provider = { client_id = "client" }, email_domains = ["*", "example.com"] }
  }

  expect_failures = [var.sign_in]
}

run "an_account_that_is_none" {
  command = plan

  variables {
    sign_in = { service_accounts = ["alice@example.com"] }
  }

  expect_failures = [var.sign_in]
}
