//! Medians of several programs that take turns, so that a slow minute of the machine hits all of them.

use crate::cases::Repeat;
use std::time::{Duration, Instant};

/// A turn repeats until it has taken about this long, so that the clock's own cost does not count.
const TURN: Duration = Duration::from_millis(2);

/// All turns of one case together, about.
const ALL_TURNS: Duration = Duration::from_secs(1);

/// Repeats longer than this leave nothing in a cache and need no warming up.
const LONG: Duration = Duration::from_millis(50);

/// The least and the greatest number of turns each.
const TURNS: (usize, usize) = (5, 200);

/// The turns of what is slow by far, and needs no third digit.
const SLOW_TURNS: usize = 2;

/// The median seconds of one repeat of each.
pub fn in_turns(repeats: &mut [Box<dyn Repeat>]) -> Vec<f64> {
    let first: Vec<Duration> = repeats.iter_mut().map(|repeat| settled(repeat.as_mut())).collect();
    let fastest = first.iter().min().copied().unwrap_or_default();
    let mut seconds = vec![Vec::new(); repeats.len()];
    let start = Instant::now();
    for turn in 0..TURNS.1 {
        if turn >= TURNS.0 && start.elapsed() > ALL_TURNS {
            break;
        }
        for ((repeat, first), seconds) in repeats.iter_mut().zip(&first).zip(&mut seconds) {
            if turn >= SLOW_TURNS && *first > 10 * fastest && *first > LONG {
                continue;
            }
            let count = (TURN.as_secs_f64() / first.as_secs_f64().max(1e-9)).ceil() as u32;
            if *first < LONG {
                // A turn that does not count: caches warm up, threads wake up, those of the last library fall asleep.
                timed(repeat.as_mut(), count);
            }
            seconds.push(timed(repeat.as_mut(), count).as_secs_f64());
        }
    }
    seconds.into_iter().map(median).collect()
}

/// How long a repeat takes once the first ones are over.
fn settled(repeat: &mut dyn Repeat) -> Duration {
    let first = timed(repeat, 1);
    if first > LONG { timed(repeat, 1).min(first) } else { timed(repeat, 3).min(timed(repeat, 10)) }
}

/// The mean of so many repeats.
fn timed(repeat: &mut dyn Repeat, count: u32) -> Duration {
    // Reading the clock is cheap beside a case that needs preparation.
    let (rounds, in_round) = if repeat.needs_preparation() { (count, 1) } else { (1, count) };
    let mut total = Duration::ZERO;
    for _ in 0..rounds {
        repeat.prepare();
        let start = Instant::now();
        for _ in 0..in_round {
            repeat.repeat();
        }
        total += start.elapsed();
    }
    total / count
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}
