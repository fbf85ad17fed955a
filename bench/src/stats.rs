//! What several rounds say together.

/// A figure over its rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    /// A quarter of the rounds were below.
    pub(crate) low: f64,
    /// A quarter of the rounds were above.
    pub(crate) high: f64,
}

/// The median and the quartiles, linear between neighbours; `None` where nothing was measured.
pub(crate) fn spread(samples: &[f64]) -> Option<Spread> {
    let mut sorted: Vec<f64> = samples.iter().copied().filter(|sample| sample.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let at = |part: f64| {
        let place = part * last as f64;
        let (below, above) = (place.floor() as usize, place.ceil() as usize);
        let value = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        value(below) + (value(above) - value(below)) * place.fract()
    };
    Some(Spread { median: at(0.5), low: at(0.25), high: at(0.75) })
}

/// How many times the reference something is: the ratio within each round, then their spread. The two
/// were measured one after the other, so what slowed a round down slowed both.
pub(crate) fn ratio(samples: &[f64], reference: &[f64]) -> Option<Spread> {
    let ratios: Vec<f64> = samples.iter().zip(reference).map(|(sample, against)| sample / against).collect();
    spread(&ratios)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_the_samples() {
        assert_eq!(spread(&[4.0, 1.0, 3.0, 2.0]), Some(Spread { median: 2.5, low: 1.75, high: 3.25 }));
        assert_eq!(spread(&[7.0]), Some(Spread { median: 7.0, low: 7.0, high: 7.0 }));
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[f64::NAN, 2.0]), Some(Spread { median: 2.0, low: 2.0, high: 2.0 }));
    }

    #[test]
    fn a_round_that_was_slow_for_both_changes_no_ratio() {
        let (reference, twice) = ([10.0, 50.0, 11.0], [20.0, 100.0, 22.0]);
        assert_eq!(ratio(&twice, &reference), Some(Spread { median: 2.0, low: 2.0, high: 2.0 }));
    }
}
