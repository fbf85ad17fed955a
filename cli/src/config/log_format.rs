//! What the lines of the logs look like. It is a matter of where the process runs and not of what it
//! does, so it is said by the environment alone, for every file.

use super::Environment;
use super::problem::Problem;

/// The shape of every line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// A plain object for each request; everything else as Envoy and the tool write it.
    Plain,
    /// As Cloud Logging reads it, everything.
    Google {
        /// The project whose traces requests belong to.
        project: Option<String>,
    },
}

impl LogFormat {
    pub(super) fn of(environment: &Environment) -> Result<Self, Problem> {
        let set = |name: &str| environment.get(name).filter(|value| !value.is_empty());
        match set("LOG_FORMAT").map(String::as_str) {
            None | Some("plain") => Ok(Self::Plain),
            Some("google") => match set("GOOGLE_CLOUD_PROJECT") {
                Some(project) if !is_project(project) => Err(Problem::given(
                    "GOOGLE_CLOUD_PROJECT",
                    project,
                    "a project's id, for example my-project-123",
                )),
                project => Ok(Self::Google { project: project.cloned() }),
            },
            Some(other) => Err(Problem::given("LOG_FORMAT", other, "plain or google")),
        }
    }
}

/// An id stands inside Envoy's own notation, so it may not hold what means something there.
fn is_project(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.:".contains(&byte);
    id.len() <= 100 && id.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<LogFormat, String> {
        let environment =
            variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        LogFormat::of(&environment).map_err(|problem| problem.to_string())
    }

    #[test]
    fn the_environment_chooses() {
        assert_eq!(of(&[]), Ok(LogFormat::Plain));
        assert_eq!(of(&[("LOG_FORMAT", "plain"), ("GOOGLE_CLOUD_PROJECT", "p")]), Ok(LogFormat::Plain));
        assert_eq!(of(&[("LOG_FORMAT", "google")]), Ok(LogFormat::Google { project: None }));
        for project in ["my-project-123", "example.com:my-project", "123456"] {
            let format = of(&[("LOG_FORMAT", "google"), ("GOOGLE_CLOUD_PROJECT", project)]);
            assert_eq!(format, Ok(LogFormat::Google { project: Some(project.to_owned()) }));
        }
    }

    #[test]
    fn what_it_cannot_be_is_said() {
        let said = of(&[("LOG_FORMAT", "json")]).unwrap_err();
        assert_eq!(said, "LOG_FORMAT: given \"json\", expected plain or google");
        for project in ["%REQ(COOKIE)%", "a'b", "My-Project", "a b", "a/b"] {
            assert!(of(&[("LOG_FORMAT", "google"), ("GOOGLE_CLOUD_PROJECT", project)]).is_err(), "{project}");
        }
    }
}
