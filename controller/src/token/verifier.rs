//! How signatures of tokens are checked: by the cryptography that TLS has, too.

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, new_error};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use ring::error::Unspecified;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};
use signature_trait::Error;

static PROVIDER: CryptoProvider = CryptoProvider {
    // Nobody signs tokens here.
    signer_factory: |_, _| Err(new_error(ErrorKind::InvalidAlgorithm)),
    verifier_factory: |algorithm, key| {
        Ok(Box::new(Ring {
            algorithm: *algorithm,
            key: key.clone(),
        }))
    },
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes it the one that is used.
pub(super) fn install() {
    // It was this one already.
    let _ = PROVIDER.install_default();
}

struct Ring {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl Ring {
    fn rsa(&self) -> Option<&'static RsaParameters> {
        match self.algorithm {
            Algorithm::RS256 => Some(&RSA_PKCS1_2048_8192_SHA256),
            Algorithm::RS384 => Some(&RSA_PKCS1_2048_8192_SHA384),
            Algorithm::RS512 => Some(&RSA_PKCS1_2048_8192_SHA512),
            _ => None,
        }
    }

    fn other(&self) -> Option<&'static dyn VerificationAlgorithm> {
        match self.algorithm {
            Algorithm::ES256 => Some(&ECDSA_P256_SHA256_FIXED),
            Algorithm::ES384 => Some(&ECDSA_P384_SHA384_FIXED),
            Algorithm::EdDSA => Some(&ED25519),
            _ => None,
        }
    }
}

impl signature_trait::Verifier<Vec<u8>> for Ring {
    fn verify(&self, message: &[u8], found: &Vec<u8>) -> Result<(), Error> {
        let checked = match (self.key.kind(), self.rsa(), self.other()) {
            (DecodingKeyKind::RsaModulusExponent { n, e }, Some(rsa), _) => {
                RsaPublicKeyComponents { n, e }.verify(rsa, message, found)
            }
            (DecodingKeyKind::SecretOrDer(bytes), None, Some(other)) => {
                UnparsedPublicKey::new(other, bytes).verify(message, found)
            }
            _ => return Err(Error::new()),
        };
        checked.map_err(|Unspecified| Error::new())
    }
}

impl JwtVerifier for Ring {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
