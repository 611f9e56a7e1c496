//! What a connection says first: for which name it is.

use tls_parser::{
    SNIType, TlsExtension, TlsMessage, TlsMessageHandshake, parse_tls_client_hello_extensions,
    parse_tls_message_handshake,
};

/// Bytes that are read before a name was said.
pub(super) const MOST: usize = 16 * 1024;

/// Headers that a request may have.
const HEADERS: usize = 100;

/// The type of a record of TLS that begins a connection, and how long its header is.
const HANDSHAKE: u8 = 22;
const RECORD: usize = 5;

/// The extension by which a name is hidden. An earlier one the parser knows by itself.
const HIDDEN: u16 = 0xfe0d;

/// What was heard so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Not enough.
    Part,
    /// A name, in lower case.
    Name(String),
    /// Something else, and what.
    Other(&'static str),
}

/// Looks into the first bytes of a connection.
pub fn hear(bytes: &[u8]) -> Heard {
    let heard = match bytes.first() {
        None => Heard::Part,
        Some(&HANDSHAKE) => hear_tls(bytes),
        Some(_) => hear_http(bytes),
    };
    if heard == Heard::Part && bytes.len() >= MOST {
        return Heard::Other("no name in its first 16 KiB");
    }
    heard
}

/// The name of a `ClientHello`, whatever records it comes in.
fn hear_tls(bytes: &[u8]) -> Heard {
    const NOT_TLS: Heard = Heard::Other("it begins as TLS and goes on otherwise");
    let mut message = Vec::new();
    let mut rest = bytes;
    loop {
        if let [_, a, b, c, ..] = message[..] {
            let length = 4 + (usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c));
            if let Some(whole) = message.get(..length) {
                return hear_hello(whole);
            }
            if length > MOST {
                return NOT_TLS;
            }
        }
        let [kind, 3, _, high, low, ..] = *rest else {
            let begins = [HANDSHAKE, 3];
            let is_so_far = rest.iter().zip(begins).all(|(byte, own)| *byte == own);
            return if is_so_far { Heard::Part } else { NOT_TLS };
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if kind != HANDSHAKE || length == 0 {
            return NOT_TLS;
        }
        let Some(body) = rest.get(RECORD..RECORD + length) else {
            return Heard::Part;
        };
        message.extend_from_slice(body);
        rest = rest.get(RECORD + length..).unwrap_or_default();
    }
}

fn hear_hello(message: &[u8]) -> Heard {
    const UNREADABLE: Heard = Heard::Other("its first message cannot be read");
    let Ok((_, TlsMessage::Handshake(TlsMessageHandshake::ClientHello(hello)))) =
        parse_tls_message_handshake(message)
    else {
        return UNREADABLE;
    };
    let Ok((rest, extensions)) = parse_tls_client_hello_extensions(hello.ext.unwrap_or_default())
    else {
        return UNREADABLE;
    };
    if !rest.is_empty() {
        return UNREADABLE;
    }
    let mut names = Vec::new();
    for extension in &extensions {
        match extension {
            TlsExtension::SNI(list) => names.extend(list),
            TlsExtension::EncryptedServerName { .. } => return Heard::Other("its name is hidden"),
            TlsExtension::Unknown(kind, _) if kind.0 == HIDDEN => {
                return Heard::Other("its name is hidden");
            }
            _ => {}
        }
    }
    match names[..] {
        [] => Heard::Other("it says no name"),
        [(SNIType::HostName, name)] => named(name),
        _ => Heard::Other("it says several names"),
    }
}

/// The name of a request of HTTP/1.
fn hear_http(bytes: &[u8]) -> Heard {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Partial) => return Heard::Part,
        Ok(httparse::Status::Complete(_)) => {}
        Err(_) => return Heard::Other("it is neither TLS nor HTTP"),
    }
    if request.method == Some("CONNECT") {
        return Heard::Other("it asks for a tunnel");
    }
    let hosts: Vec<&[u8]> = request
        .headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("host"))
        .map(|header| header.value)
        .collect();
    let [host] = hosts[..] else {
        return Heard::Other(if hosts.is_empty() {
            "it says no name"
        } else {
            "it says several names"
        });
    };
    let name = named(without_port(host));
    // A whole address as the target counts more than the header.
    let target = request.path.unwrap_or_default();
    if target.starts_with('/') || target == "*" {
        return name;
    }
    let of_target = target
        .split_once("://")
        .map(|(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or_default());
    match of_target.map(|host| named(without_port(host.as_bytes()))) {
        Some(other) if other == name => name,
        _ => Heard::Other("it says several names"),
    }
}

fn without_port(host: &[u8]) -> &[u8] {
    let digits = host.iter().rev().take_while(|byte| byte.is_ascii_digit());
    let at = host.len() - digits.count();
    match host.get(..at) {
        Some([name @ .., b':']) if !name.contains(&b':') => name,
        _ => host,
    }
}

/// A name as names are compared. What is none is nothing that a rule speaks of.
fn named(bytes: &[u8]) -> Heard {
    let bytes = bytes.strip_suffix(b".").unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(name) if !name.is_empty() && name.is_ascii() => Heard::Name(name.to_ascii_lowercase()),
        _ => Heard::Other("it says no name"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `ClientHello` with extensions, in records of at most so many bytes.
    fn hello(extensions: &[(u16, Vec<u8>)], record: usize) -> Vec<u8> {
        let mut all = Vec::new();
        for (kind, body) in extensions {
            all.extend(kind.to_be_bytes());
            all.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
            all.extend(body);
        }
        let mut message = vec![3, 3];
        message.extend([7; 32]);
        message.extend([0, 0, 2, 0x13, 1, 1, 0]);
        message.extend(u16::try_from(all.len()).unwrap().to_be_bytes());
        message.extend(all);
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let whole = [&[1, length[1], length[2], length[3]], &message[..]].concat();
        let mut bytes = Vec::new();
        for part in whole.chunks(record) {
            bytes.extend([HANDSHAKE, 3, 1]);
            bytes.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
            bytes.extend(part);
        }
        bytes
    }

    fn sni(name: &str) -> (u16, Vec<u8>) {
        let length = u16::try_from(name.len()).unwrap();
        let mut body = (length + 3).to_be_bytes().to_vec();
        body.push(0);
        body.extend(length.to_be_bytes());
        body.extend(name.as_bytes());
        (0, body)
    }

    fn name(text: &str) -> Heard {
        Heard::Name(text.to_owned())
    }

    #[test]
    fn a_hello_says_one_name_in_however_many_records() {
        for record in [1, 7, 100, 4_000] {
            let bytes = hello(&[(10, vec![0, 2, 0, 29]), sni("API.example.com.")], record);
            assert_eq!(hear(&bytes), name("api.example.com"), "{record}");
            for length in 0..bytes.len() {
                assert_eq!(hear(&bytes[..length]), Heard::Part, "{length} of {record}");
            }
        }
    }

    #[test]
    fn a_name_that_is_hidden_missing_or_not_alone_is_none() {
        let other = |extensions: &[_]| match hear(&hello(extensions, 4_000)) {
            Heard::Other(what) => what,
            heard => panic!("{heard:?}"),
        };
        assert_eq!(other(&[]), "it says no name");
        assert_eq!(other(&[sni("")]), "it says no name");
        let two = [sni("a.example.com"), sni("b.example.com")];
        assert_eq!(other(&two), "it says several names");
        let hidden = [sni("a.example.com"), (HIDDEN, vec![1, 2, 3])];
        assert_eq!(other(&hidden), "its name is hidden");
        let unreadable = [(0, vec![0, 9, 0])];
        assert_eq!(other(&unreadable), "its first message cannot be read");
    }

    #[test]
    fn what_only_begins_as_tls_is_not_waited_for() {
        for bytes in [&[22, 4][..], &[22, 3, 1, 0, 0], &[22, 3, 1, 0, 1, 1, 23, 3]] {
            assert!(matches!(hear(bytes), Heard::Other(_)), "{bytes:?}");
        }
        let long = [&[22, 3, 1, 255, 255, 1, 0, 255, 255][..], &[0; MOST]].concat();
        assert!(matches!(hear(&long), Heard::Other(_)));
    }

    #[test]
    fn a_request_says_its_host() {
        let get = |target: &str, headers: &str| {
            hear(format!("GET {target} HTTP/1.1\r\n{headers}\r\n").as_bytes())
        };
        assert_eq!(
            get("/", "Host: API.example.com:8080\r\n"),
            name("api.example.com")
        );
        assert_eq!(
            get("/", "A: b\r\nhost: a.example.com\r\n"),
            name("a.example.com")
        );
        assert_eq!(
            get("http://a.example.com/x", "Host: a.example.com\r\n"),
            name("a.example.com")
        );
        for (target, headers) in [
            ("/", ""),
            ("/", "Host:\r\n"),
            ("/", "Host: .\r\n"),
            ("/", "Host: a.example.com\r\nHost: b.example.com\r\n"),
            ("http://b.example.com/", "Host: a.example.com\r\n"),
            ("b.example.com:443", "Host: a.example.com\r\n"),
        ] {
            assert!(
                matches!(get(target, headers), Heard::Other(_)),
                "{target} {headers:?}"
            );
        }
        assert_eq!(hear(b"GET / HTTP/1.1\r\nHost: a.exa"), Heard::Part);
        let tunnel = hear(b"CONNECT a.example.com:443 HTTP/1.1\r\nHost: a.example.com\r\n\r\n");
        assert_eq!(tunnel, Heard::Other("it asks for a tunnel"));
    }

    #[test]
    fn what_says_nothing_that_is_known_is_refused_and_not_waited_for() {
        for bytes in [
            &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\0\0\0\0",
        ] {
            assert!(matches!(hear(bytes), Heard::Other(_)), "{bytes:?}");
        }
        assert!(matches!(hear(&[b'a'; MOST]), Heard::Other(_)));
    }
}
