//! The question that STUN began with: by which address am I seen (RFC 8489 §7)?

use std::net::SocketAddr;

use super::message::{Class, Message, Transaction, Writer, attribute, method};

/// A Binding request without attributes.
pub(crate) fn request(transaction: Transaction) -> Vec<u8> {
    let mut bytes = Vec::new();
    Writer::new(&mut bytes, Class::Request, method::BINDING, transaction);
    bytes
}

/// Which question it answers, and the address. `None` for anything but a success response to a Binding.
pub(crate) fn answer(bytes: &[u8]) -> Option<(Transaction, SocketAddr)> {
    let message = Message::parse(bytes)?;
    let answered = message.class == Class::Success && message.method == method::BINDING;
    let address = message.address(attribute::XOR_MAPPED_ADDRESS)?;
    answered.then_some((message.transaction, address))
}

/// What a server answers.
#[cfg(test)]
pub(crate) fn success(transaction: Transaction, address: SocketAddr) -> Vec<u8> {
    let mut bytes = Vec::new();
    Writer::new(&mut bytes, Class::Success, method::BINDING, transaction)
        .put_address(attribute::XOR_MAPPED_ADDRESS, address);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_answers_of_both_families_and_nothing_else() {
        for address in ["203.0.113.7:7882", "[2001:db8::7]:7882"] {
            let address: SocketAddr = address.parse().unwrap();
            let written = |class, method| {
                let mut bytes = Vec::new();
                Writer::new(&mut bytes, class, method, [7; 12])
                    .put_address(attribute::XOR_MAPPED_ADDRESS, address);
                bytes
            };
            let bytes = success([7; 12], address);
            assert_eq!(answer(&bytes), Some(([7; 12], address)));
            assert_eq!(answer(&bytes[..bytes.len() - 1]), None);
            assert_eq!(answer(&written(Class::Request, method::BINDING)), None);
            assert_eq!(answer(&written(Class::Success, method::ALLOCATE)), None);
            assert_eq!(answer(&request([7; 12])), None);
        }
    }
}
