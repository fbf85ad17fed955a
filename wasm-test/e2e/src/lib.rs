//! The deployed configuration in real Envoy, with real clients.
