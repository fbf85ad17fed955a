//! Why a request was refused, which its sender is not told.

use crate::http1::Response;
use crate::journal::PATIENCE;
use crate::stack::Stack;

impl Stack {
    /// The reason in the filters' log, found by the id that the sender was told.
    ///
    /// # Panics
    /// When the answer has no id, or no filter says that it refused that request.
    pub async fn reason(&self, answer: &Response) -> String {
        let id = answer.headers.text("x-request-id").unwrap_or_else(|| panic!("no id: {answer:?}"));
        let end = format!(" request_id={id}");
        let find = |lines: &[String]| {
            let line = lines.iter().find(|line| line.contains(" refused reason=") && line.contains(&end))?;
            let (_, reason) = line.split_once(" refused reason=")?;
            reason.split(' ').next().map(str::to_owned)
        };
        self.gateway_log.reaches(PATIENCE, |lines| find(lines).is_some()).await;
        let reason = find(&self.gateway_log.since(0));
        reason.unwrap_or_else(|| panic!("{}, and nobody says why: {}", answer.status, answer.text()))
    }
}
