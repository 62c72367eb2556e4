//! SRTP and SRTCP from a stranger: all is refused, nothing is kept.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roomful_media::rtp::RtpHeader;
use roomful_media::srtp::{SrtpError, SrtpProfile, from_keying_material};

fuzz_target!(|data: &[u8]| {
    let Some((&kind, packet)) = data.split_first() else {
        return;
    };
    let profile = match kind % 3 {
        0 => SrtpProfile::AeadAes256Gcm,
        1 => SrtpProfile::AeadAes128Gcm,
        _ => SrtpProfile::Aes128CmSha1_80,
    };
    let material = vec![7; profile.keying_material_len()];
    let (mut sender, mut receiver) =
        from_keying_material(profile, &material, true).expect("long enough");
    assert!(receiver.unprotect_rtp(&mut packet.to_vec()).is_err());
    assert!(receiver.unprotect_rtcp(&mut packet.to_vec()).is_err());
    assert_eq!((receiver.rtp_streams(), receiver.rtcp_sources()), (0, 0));

    // The same bytes sealed by the peer are opened once. Both ends have one key here.
    let (_, mut peer) = from_keying_material(profile, &material, false).expect("long enough");
    if let Ok(header) = RtpHeader::parse_clear_part(packet) {
        let mut sealed = packet.to_vec();
        let header_len = usize::from(header.header_len);
        sender
            .protect_rtp(&mut sealed, header_len)
            .expect("a fresh index");
        let mut again = sealed.clone();
        let len = peer
            .unprotect_rtp(&mut sealed)
            .expect("a sealed packet opens");
        assert_eq!(sealed[..len], *packet);
        assert_eq!(peer.unprotect_rtp(&mut again), Err(SrtpError::Replayed));
    }
    let mut sealed = packet.to_vec();
    if sender.protect_rtcp(&mut sealed).is_ok() {
        let len = peer
            .unprotect_rtcp(&mut sealed)
            .expect("a sealed compound opens");
        assert_eq!(sealed[..len], *packet);
    }
});
