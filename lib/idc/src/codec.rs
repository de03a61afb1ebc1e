//! Values to bytes and back: postcard's encoding of serde's data model.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{CallError, MAX_BODY_BYTES, RemoteError};

/// The bytes of `value`.
///
/// # Errors
/// [`CallError::TooLong`] for more than [`MAX_BODY_BYTES`], or for a value that
/// serde can't write.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CallError> {
    let bytes = postcard::to_allocvec(value).map_err(|_| CallError::TooLong)?;
    if bytes.len() > MAX_BODY_BYTES {
        return Err(CallError::TooLong);
    }
    Ok(bytes)
}

/// The value in `bytes`, which must hold nothing else.
///
/// # Errors
/// [`RemoteError::Malformed`].
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, RemoteError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        _ => Err(RemoteError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_left_over_is_an_error() {
        let mut bytes = encode(&(7u32, "seven")).unwrap();
        assert_eq!(decode::<(u32, &str)>(&bytes), Ok((7, "seven")));
        bytes.push(0);
        assert_eq!(decode::<(u32, &str)>(&bytes), Err(RemoteError::Malformed));
    }

    #[test]
    fn too_long_is_found_when_encoding() {
        let long = alloc::vec![0u8; MAX_BODY_BYTES];
        assert_eq!(encode(&long), Err(CallError::TooLong));
        assert!(encode(&long[..MAX_BODY_BYTES - 3]).is_ok());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = decode::<(u64, &str, Option<Vec<u16>>)>(&bytes);
            let _ = decode::<Result<Vec<String>, CallError>>(&bytes);
        }
    }
}
