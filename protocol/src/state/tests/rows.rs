//! What sessions and membership look like in the tables, and what is made of damaged rows.

use super::*;
use crate::tables::{ReplicaTables, Scan};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A state with one session that has two kept replies, and one rejoin.
fn written() -> State<Counter, MemoryTables> {
    let mut state = fresh();
    let session = state.registered(7);
    state.one(&by_primary(Operation::Rejoin { replica: ReplicaId::new(1), nonce: Nonce::new(9) }));
    let keepalive = Operation::Keepalive { oldest_live_upload: 5, oldest_read: Op::new(2) };
    state.batch(0, &[add(7, session, 1), request(7, session, 3, keepalive)]);
    state.checkpoint();
    state
}

fn row(state: &State<Counter, MemoryTables>, prefix: u8) -> (Vec<u8>, Vec<u8>) {
    let mut found = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        found.push((key.to_vec(), value.to_vec()));
        Scan::Continue
    };
    state.tables().scan(&[prefix], Some(&[prefix + 1]), &mut visit).unwrap();
    assert_eq!(found.len(), 1);
    found.remove(0)
}

#[test]
fn a_session_row_has_its_golden_bytes() {
    let (key, value) = row(&written(), 0x01);
    assert_eq!(hex(&key), "010000000000001000");
    let golden = [
        "01",                                           // version
        "07000000000000000000000000000000",             // client
        "0100000000000000",                             // low
        "0300000000000000",                             // active op
        "0400000000000000",                             // active at
        "0500000000000000",                             // oldest live upload
        "0200000000000000",                             // oldest read
        "02000000",                                     // replies
        "01000000000000000300000000000000020100000001", // 1, at op 3: done, 1 byte
        "0300000000000000030000000000000003",           // 3, at op 3: acknowledged
    ];
    assert_eq!(hex(&value), golden.concat());
}

#[test]
fn the_membership_row_has_its_golden_bytes() {
    let state = written();
    let (key, value) = row(&state, 0x02);
    assert_eq!(hex(&key), "02");
    let golden = [
        "01",                                       // version
        &hex(&state.applied().to_bytes()),          // the entry after which it was written
        "00000000",                                 // rejoins of replica 0
        "01000000",                                 // rejoins of replica 1
        "09000000000000000000000000000000",         // nonce
        "0200000000000000",                         // op
        "0000000000000000000000000000000000000000", // rejoins of replicas 2 to 6
    ];
    assert_eq!(hex(&value), golden.concat());
}

/// A larger row could not be sent to a replica that has fallen behind.
#[test]
fn a_full_session_row_has_the_size_that_the_limits_allow_for() {
    let limits = Limits { session_window: 3, reply_bytes_max: 10, ..Limits::standard() };
    let mut session = Session::begin(ClientId::new(7), Op::new(1), Timestamp::ZERO);
    for number in 1..=3 {
        session.keep_reply(&reply(
            &add(7, SessionId::ZERO, number),
            Op::new(2),
            Outcome::Done(Bytes::from_static(&[0; 10])),
        ));
    }
    let mut row = Encoder::new();
    session.encode(&mut row);
    assert_eq!(row.len() as u64, Session::row_size_max(&limits));

    assert!(Limits::standard().check().is_ok());
    assert!(Limits { session_window: 1024, ..Limits::standard() }.check().is_err());
}

#[test]
fn an_ended_session_leaves_no_row() {
    let mut state = written();
    let session = SessionId::from_register(Op::new(1), 0);
    state.one(&request(7, session, 4, Operation::Close));
    state.checkpoint();
    assert_eq!(state.tables().get(&row(&written(), 0x01).0).unwrap(), None);
}

#[test]
fn an_unchanged_session_is_not_written_again() {
    let mut state = written();
    let (key, _) = row(&state, 0x01);
    state.tables_mut().delete(&key);
    state.registered(8);
    state.checkpoint();
    assert_eq!(state.tables().get(&key).unwrap(), None);
}

/// Loads a state whose row under `prefix` was replaced; the reason it cannot be, if so.
fn fault_with(prefix: u8, value: Option<&[u8]>) -> Option<String> {
    let mut state = written();
    let (key, _) = row(&state, prefix);
    match value {
        Some(value) => state.tables_mut().put(&key, value),
        None => state.tables_mut().delete(&key),
    }
    state.reload().err().map(|fault| fault.reason)
}

#[test]
fn damaged_rows_are_faults_and_never_a_panic() {
    for prefix in [0x01, 0x02] {
        let (_, value) = row(&written(), prefix);
        assert_eq!(fault_with(prefix, Some(&value)), None);
        for length in 0..value.len() {
            assert!(fault_with(prefix, Some(&value[..length])).is_some(), "cut to {length}");
        }
        let longer = [value.clone(), vec![0]].concat();
        assert!(fault_with(prefix, Some(&longer)).is_some());
        for version in [0, 2, 255] {
            let mut unknown = value.clone();
            unknown[0] = version;
            assert!(fault_with(prefix, Some(&unknown)).is_some());
        }
    }
}

#[test]
fn a_key_of_the_wrong_size_is_a_fault() {
    let mut state = written();
    state.tables_mut().put(&[0x01, 5], b"");
    assert!(state.reload().is_err());
}

#[test]
fn two_sessions_of_one_client_are_a_fault() {
    let mut state = written();
    let (mut key, value) = row(&state, 0x01);
    key[8] += 1;
    state.tables_mut().put(&key, &value);
    assert!(state.reload().is_err());
}

#[test]
fn a_missing_membership_row_is_a_fault_after_genesis_only() {
    assert!(fault_with(0x02, None).is_some());
    assert!(fresh().reload().is_ok());
}

/// Rows of one checkpoint under the header of another: a flush that was not atomic.
#[test]
fn a_membership_row_of_another_checkpoint_is_a_fault() {
    let mut state = written();
    state.tables_mut().freeze(&EntryHeader { op: Op::new(9), ..genesis() });
    state.tables_mut().finish_flush();
    assert!(state.reload().is_err());
}

#[test]
fn tables_in_the_middle_of_a_sync_hold_no_state_until_it_is_finished() {
    let donor = written();
    let target = donor.tables().durable().clone();
    let mut receiver = fresh();
    receiver.tables_mut().begin_sync(&target).unwrap();
    receiver.tables_mut().put(&[0x01, 5], b"half a row");
    let mut receiver = State::new(Counter, receiver.tables, limits()).unwrap();
    assert_eq!(receiver.sessions().count(), 0);

    let rows = donor.tables().rows(target.op(), b"", None, None, usize::MAX).unwrap().unwrap().rows;
    receiver.tables_mut().install(b"", None, &rows).unwrap();
    assert!(receiver.tables_mut().finish_sync().unwrap());
    receiver.reload().unwrap();
    assert_eq!(receiver.applied(), donor.applied());
    assert_eq!(receiver.sessions(), donor.sessions());
    assert_eq!(receiver.membership, donor.membership);
}
