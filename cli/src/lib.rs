//! The native tool's parts. The binary only parses arguments and calls these; tests call them too.
//!
//! - [`config`]: the one YAML file, as written → as used
//! - [`render`]: the configuration as used → Envoy's bootstrap
//! - [`run`], [`child`]: Envoy as a child: ready, drain, end
//! - [`local`]: the stand-in for Google's services as a process
//! - [`dev`]: everything on a laptop
//! - [`image`]: modules as OCI images
//! - [`precompile`]: modules compiled before they are deployed
//! - [`replay`]: dead letters
//! - [`google`], [`ports`], [`say`], `http`: what several of these need
//! - [`args`], [`commands`]: the command line, and what each command does

pub mod args;
pub mod child;
pub mod commands;
pub mod config;
pub mod dev;
pub mod google;
mod http;
pub mod image;
pub mod local;
pub mod ports;
pub mod precompile;
pub mod render;
pub mod replay;
pub mod run;
pub mod say;
