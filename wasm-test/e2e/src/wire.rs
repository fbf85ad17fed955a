//! Reads HTTP/1.1 messages from a connection.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

use crate::http1::{Headers, Request, Response, bodiless};

/// Reads a request; `None` when the peer closed between two requests. `partial` is what had been
/// read when an error came.
pub(crate) async fn read_request<R: AsyncBufRead + Unpin>(
    reader: &mut R,
    partial: &mut Option<Request>,
) -> io::Result<Option<Request>> {
    let Some((line, headers)) = read_head(reader).await? else {
        return Ok(None);
    };
    let line = String::from_utf8_lossy(&line).into_owned();
    let mut words = line.split(' ');
    let request =
        partial.insert(Request::new(words.next().unwrap_or_default(), words.next().unwrap_or_default()));
    request.headers = headers;
    let framing = framing(&request.headers).unwrap_or(Framing::Length(0));
    request.trailers = read_body(reader, framing, &mut request.body).await?;
    Ok(partial.take())
}

/// Reads the response to a request of this method, interim responses included.
pub(crate) async fn read_response<R: AsyncBufRead + Unpin>(
    reader: &mut R,
    method: &str,
) -> io::Result<Response> {
    let mut interim = Vec::new();
    loop {
        let (line, headers) = read_head(reader).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = String::from_utf8_lossy(&line)
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .ok_or(io::ErrorKind::InvalidData)?;
        if (100..200).contains(&status) && status != 101 {
            interim.push(status);
            continue;
        }
        let mut response = Response::new(status);
        let framing = if bodiless(status) || method == "HEAD" {
            Framing::Length(0)
        } else {
            framing(&headers).unwrap_or(Framing::UntilClose)
        };
        response.trailers = read_body(reader, framing, &mut response.body).await?;
        response.headers = headers;
        response.interim = interim;
        return Ok(response);
    }
}

enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

fn framing(headers: &Headers) -> Option<Framing> {
    if headers.has_token("transfer-encoding", "chunked") {
        return Some(Framing::Chunked);
    }
    let length = headers.text("content-length")?;
    length.trim().parse().ok().map(Framing::Length)
}

async fn read_head<R: AsyncBufRead + Unpin>(reader: &mut R) -> io::Result<Option<(Vec<u8>, Headers)>> {
    let Some(first) = read_line(reader).await? else {
        return Ok(None);
    };
    Ok(Some((first, read_fields(reader).await?)))
}

async fn read_fields<R: AsyncBufRead + Unpin>(reader: &mut R) -> io::Result<Headers> {
    let mut headers = Headers::default();
    loop {
        let line = read_line(reader).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if line.is_empty() {
            return Ok(headers);
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.ok_or(io::ErrorKind::InvalidData)?);
        headers.push(name, value[1..].trim_ascii());
    }
}

async fn read_line<R: AsyncBufRead + Unpin>(reader: &mut R) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    if reader.read_until(b'\n', &mut line).await? == 0 {
        return Ok(None);
    }
    if line.pop() != Some(b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(Some(line))
}

async fn read_body<R: AsyncBufRead + Unpin>(
    reader: &mut R,
    framing: Framing,
    body: &mut Vec<u8>,
) -> io::Result<Headers> {
    match framing {
        Framing::Length(length) => {
            let read = reader.take(length).read_to_end(body).await?;
            if (read as u64) < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Framing::UntilClose => {
            reader.read_to_end(body).await?;
        }
        Framing::Chunked => loop {
            let line = read_line(reader).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let size = String::from_utf8_lossy(&line);
            let size = u64::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)
                .map_err(|_| io::ErrorKind::InvalidData)?;
            if size == 0 {
                return read_fields(reader).await;
            }
            Box::pin(read_body(reader, Framing::Length(size), body)).await?;
            read_line(reader).await?;
        },
    }
    Ok(Headers::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn parsed(bytes: &[u8]) -> Request {
        let mut reader = bytes;
        read_request(&mut reader, &mut None).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn order_duplicates_and_odd_bytes_of_headers_are_kept() {
        let sent = Request::post("/a?b=c", "text/plain", "body")
            .header("X-Two", "1")
            .header("x-odd", b"\xff\x01")
            .header("x-two", "2");
        let read = parsed(&sent.to_bytes()).await;
        assert_eq!(read.headers.all("x-two"), [b"1", b"2"]);
        assert_eq!(read.headers.all("X-Odd"), [b"\xff\x01"]);
        let names: Vec<_> = read.headers.pairs().map(|(name, _)| name.to_vec()).collect();
        assert_eq!(names[1], b"X-Two");
        assert_eq!((&*read.target, &*read.body), ("/a?b=c", &b"body"[..]));
    }

    #[tokio::test]
    async fn a_body_in_one_byte_chunks_with_trailers_is_read_whole() {
        let mut sent = Request::new("POST", "/").body("chunked body");
        sent.trailers.push("x-sum", "7");
        let read = parsed(&sent.to_chunked_bytes(1)).await;
        assert_eq!(read.body, b"chunked body");
        assert_eq!(read.trailers.all("x-sum"), [b"7"]);
    }

    #[tokio::test]
    async fn a_body_that_ends_early_is_an_error_and_leaves_what_was_read() {
        let mut reader = &b"POST /x HTTP/1.1\r\ncontent-length: 9\r\n\r\nfour"[..];
        let mut partial = None;
        let error = read_request(&mut reader, &mut partial).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(partial.unwrap().body, b"four");
    }

    #[tokio::test]
    async fn interim_responses_are_told_from_the_final_one() {
        let mut sent = Response::new(206);
        sent.interim = vec![100, 103];
        sent.body = b"part".to_vec();
        let bytes = sent.to_bytes();
        let read = read_response(&mut &bytes[..], "GET").await.unwrap();
        assert_eq!((read.interim, read.status, &*read.body), (vec![100, 103], 206, &b"part"[..]));
    }
}
