//! The keys in client metadata, and the algorithms that need them: what the client signs, and what is signed for it and encrypted to it
//! (RFC 7591 §2, OpenID Connect Registration §2, FAPI 2.0 Security Profile §5.4.1).

use super::{AuthMethod, ClientMetadata, MetadataError, Profile, refuse};
use crate::jose::{Alg, KeyManagement};

/// The client's keys, and what is signed with them (RFC 7591 §2, OpenID Connect Registration §2).
pub(super) fn keys(metadata: &ClientMetadata) -> Result<(), MetadataError> {
    if metadata.jwks.is_some() && metadata.jwks_uri.is_some() {
        return refuse("jwks", "may not stand beside jwks_uri; keep one of the two");
    }
    if let Some(set) = &metadata.jwks {
        set.check().or_else(|message| refuse("jwks", message))?;
    }
    let fapi2 = metadata.profile == Some(Profile::Fapi2);
    let registered = metadata.token_endpoint_auth_signing_alg;
    for (field, alg) in
        [("token_endpoint_auth_signing_alg", registered), ("request_object_signing_alg", metadata.request_object_signing_alg)]
    {
        if let Some(alg) = alg.filter(|alg| fapi2 && !alg.is_for_fapi2()) {
            return refuse(field, format!("may not be {alg} with the profile fapi2; use PS256, ES256 or EdDSA"));
        }
    }
    if metadata.require_signed_request_object && metadata.jwks.is_none() && metadata.jwks_uri.is_none() {
        return refuse("require_signed_request_object", "needs jwks or jwks_uri, to verify the requests with");
    }
    if metadata.token_endpoint_auth_method != AuthMethod::PrivateKeyJwt || metadata.jwks_uri.is_some() {
        return Ok(());
    }
    let Some(set) = &metadata.jwks else {
        return refuse("jwks", "or jwks_uri is needed: private_key_jwt is verified with the client's public key");
    };
    let may = |alg: &Alg| (!fapi2 || alg.is_for_fapi2()) && registered.is_none_or(|own| own.is_same(*alg));
    if !Alg::ALL.iter().filter(|alg| may(alg)).any(|alg| set.keys().iter().any(|key| key.may_verify(*alg))) {
        return refuse(
            "jwks",
            "has no key that private_key_jwt could be verified with: look at use, alg, profile and token_endpoint_auth_signing_alg",
        );
    }
    Ok(())
}

/// FAPI 2.0 Security Profile §5.4.1, for what this server signs: RS256 is not for `fapi2`. It is the default of ID tokens, and another one there.
pub(super) fn response_signing(metadata: &mut ClientMetadata) -> Result<(), MetadataError> {
    if metadata.profile != Some(Profile::Fapi2) {
        return Ok(());
    }
    if metadata.id_token_signed_response_alg == Alg::RS256 {
        metadata.id_token_signed_response_alg = Alg::PS256;
    }
    if metadata.userinfo_signed_response_alg == Some(Alg::RS256) {
        return refuse("userinfo_signed_response_alg", "may not be RS256 with the profile fapi2; use PS256, ES256 or EdDSA");
    }
    Ok(())
}

/// OpenID Connect Registration §2: an `enc` needs its `alg`, and has a default; and there must be a key to encrypt to.
pub(super) fn encryption(metadata: &mut ClientMetadata) -> Result<(), MetadataError> {
    let (jwks, elsewhere) = (metadata.jwks.as_ref(), metadata.jwks_uri.is_some());
    let pairs = [
        (
            ("id_token_encrypted_response_alg", "id_token_encrypted_response_enc"),
            metadata.id_token_encrypted_response_alg,
            &mut metadata.id_token_encrypted_response_enc,
        ),
        (
            ("userinfo_encrypted_response_alg", "userinfo_encrypted_response_enc"),
            metadata.userinfo_encrypted_response_alg,
            &mut metadata.userinfo_encrypted_response_enc,
        ),
    ];
    for ((alg_field, enc_field), alg, enc) in pairs {
        let Some(alg) = alg else {
            if enc.is_some() {
                return refuse(enc_field, format!("needs {alg_field} beside it (OpenID Connect Registration section 2)"));
            }
            continue;
        };
        enc.get_or_insert_default();
        // What is at a jwks_uri can change at any time: it is looked at when it is needed.
        if !elsewhere && jwks.and_then(|jwks| jwks.to_encrypt(alg.as_str())).is_none() {
            let kind = match alg {
                KeyManagement::RsaOaep256 => "an RSA key",
                KeyManagement::EcdhEs => "an EC key on P-256",
            };
            return refuse(
                alg_field,
                format!(
                    "is {alg}, which needs {kind} in jwks or at jwks_uri whose use, alg and key_ops, where it has them, allow encryption"
                ),
            );
        }
    }
    Ok(())
}
