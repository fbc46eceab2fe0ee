use super::judgement::Condition;
use super::*;

const NOW: u64 = 1_800_000_000_000_000;
const PLACES: [&str; 5] = ["a:7400", "b:7400", "c:7400", "d:7400", "e:7400"];

fn replica(number: u8, replicas: u8) -> ReplicaStatus {
    ReplicaStatus {
        replica: number,
        replicas,
        version: "0.1.0".into(),
        uptime_seconds: 60,
        clock_micros: NOW,
        cpu_micros: 1_500_000,
        health: Health::Normal,
        waiting_for: vec![],
        ready: true,
        core: Some(CoreStatus {
            is_primary: number == 1,
            view: 4,
            log_view: 4,
            head: 1_000,
            durable: 1_000,
            commit: 999,
            applied: 999,
            caught_up: true,
            checkpoint: 768,
            incarnation: 0,
            boot_count: 2,
            sessions: 1,
            rows_in_memory: 10,
            refuses_growth: false,
            wal_bytes: 1 << 20,
            peers: vec![],
        }),
        disk: Some(DiskStatus { size_bytes: 100 << 30, available_bytes: 60 << 30, reserve_bytes: 5 << 30 }),
        data: Some(DataStatus {
            ready: true,
            chunks: 50,
            chunk_bytes: 200 << 20,
            debts: 0,
            chunks_missing: 0,
            bytes_to_rebuild: 0,
            chunks_damaged: 0,
            chunks_lost: 0,
            unscrubbed_seconds: 90_000,
        }),
    }
}

fn core_of(status: &mut ReplicaStatus) -> &mut CoreStatus {
    status.core.as_mut().unwrap()
}

fn data_of(answers: &mut [Result<ReplicaStatus, String>; 3], number: usize) -> &mut DataStatus {
    answers[number].as_mut().unwrap().data.as_mut().unwrap()
}

fn judge(change: impl FnOnce(&mut [Result<ReplicaStatus, String>; 3])) -> Judgement {
    let mut answers = [0, 1, 2].map(|number| Ok(replica(number, 3)));
    change(&mut answers);
    Judgement::of(&reports(answers), NOW)
}

fn reports<const N: usize>(answers: [Result<ReplicaStatus, String>; N]) -> Vec<Reported<'static>> {
    PLACES.into_iter().zip(answers).map(|(place, answer)| Reported { place, answer }).collect()
}

#[test]
fn a_whole_cluster_is_healthy_in_one_line() {
    let judgement = judge(|_| {});
    assert_eq!(judgement.condition, Condition::Healthy);
    assert_eq!(judgement.summary, "3 of 3 replicas healthy, primary 1, no debt");
}

#[test]
fn a_replica_that_does_not_answer_degrades_and_two_that_do_not_end_it() {
    let one = judge(|answers| answers[0] = Err("no answer".into()));
    assert_eq!(one.condition, Condition::Degraded);
    assert_eq!(one.summary, "2 of 3 replicas healthy, primary 1, replica 0 does not answer");

    let two = judge(|answers| {
        answers[0] = Err("no answer".into());
        answers[2] = Err("no answer".into());
    });
    assert_eq!(two.condition, Condition::NoQuorum);
    assert!(two.summary.contains("nothing can be written"), "{}", two.summary);
}

#[test]
fn a_primary_of_an_older_view_is_not_followed() {
    let judgement = judge(|answers| {
        for answer in [0, 2] {
            core_of(answers[answer].as_mut().unwrap()).view = 5;
        }
    });
    assert_eq!(judgement.condition, Condition::NoQuorum);
    assert!(judgement.summary.contains("about to choose one"), "{}", judgement.summary);
}

#[test]
fn what_should_be_looked_at_is_named() {
    let lagging = judge(|answers| core_of(answers[2].as_mut().unwrap()).applied = 900);
    assert_eq!(lagging.summary, "2 of 3 replicas healthy, primary 1, no debt");
    assert_eq!(lagging.condition, Condition::Degraded);

    let indebted = judge(|answers| {
        data_of(answers, 1).debts = 3;
        data_of(answers, 2).debts = 4;
        data_of(answers, 0).bytes_to_rebuild = 3 << 29;
    });
    let expected = "3 of 3 replicas healthy, primary 1, 7 bodies lack copies, 1.5 GiB still to be copied";
    assert_eq!((indebted.summary.as_str(), indebted.condition), (expected, Condition::Degraded));

    let lost = judge(|answers| {
        let data = data_of(answers, 2);
        (data.chunks_damaged, data.chunks_lost) = (2, 1);
    });
    assert!(
        lost.summary.ends_with("2 damaged chunks to be replaced, 1 CHUNKS LOST: no replica has a sound copy")
    );
    assert_eq!(lost.condition, Condition::Degraded);

    let full = judge(|answers| {
        answers[0].as_mut().unwrap().disk.as_mut().unwrap().available_bytes = 1 << 30;
    });
    assert!(full.summary.ends_with("the disk of replica 0 is full"), "{}", full.summary);

    let refusing = judge(|answers| {
        answers[0].as_mut().unwrap().core.as_mut().unwrap().refuses_growth = true;
    });
    let words = "the disk of replica 0 has no room left: nothing is stored until something is deleted";
    assert!(refusing.summary.ends_with(words), "{}", refusing.summary);

    let early = judge(|answers| answers[0].as_mut().unwrap().clock_micros += 400_000_000);
    assert!(
        early.summary.ends_with("the clock of replica 0 differs from here by 400 s"),
        "{}",
        early.summary
    );

    let waiting = judge(|answers| {
        let answer = answers[0].as_mut().unwrap();
        (answer.health, answer.core, answer.waiting_for) = (Health::Starting, None, vec![2]);
        answer.ready = false;
    });
    assert!(waiting.summary.ends_with("replica 0 waits for 2"), "{}", waiting.summary);
    assert_eq!(waiting.condition, Condition::Degraded);
}

#[test]
fn the_columns_stand_below_their_headings() {
    let answers = [Ok(replica(0, 3)), Ok(replica(1, 3)), Err("unreachable: timed out".to_owned())];
    let reports = reports(answers);
    let drawn = draw(&reports, &Judgement::of(&reports, NOW));
    let expected = "\
replica  address  health                view  head/commit  checkpoint  lag  disk used  free      debt  unscrubbed  version
0        a:7400   normal                4     1000/999     768         0    40.0 GiB   60.0 GiB  0     25 h        0.1.0
1        b:7400   normal       primary  4     1000/999     768         0    40.0 GiB   60.0 GiB  0     25 h        0.1.0
2        c:7400   unreachable           -     -            -           -    -          -         -     -           -

replica 2 at c:7400: unreachable: timed out
2 of 3 replicas healthy, primary 1, replica 2 does not answer
";
    assert_eq!(drawn, expected);
}

#[test]
fn a_document_survives_its_text_and_keeps_its_words() {
    let status = replica(1, 3);
    let text = serde_json::to_string(&status).unwrap();
    assert!(text.contains(r#""health":"normal""#), "{text}");
    assert_eq!(serde_json::from_str::<ReplicaStatus>(&text).unwrap(), status);
    for health in Health::ALL {
        let text = serde_json::to_string(&health).unwrap();
        assert_eq!(serde_json::from_str::<Health>(&text).unwrap(), health);
    }
}
