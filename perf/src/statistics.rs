//! Medians and spreads of the rounds of a point.

/// The median; `None` without values. Of an even number the mean of the middle two.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        let (low, high) = (sorted.get(middle.checked_sub(1)?)?, sorted.get(middle)?);
        return Some((low + high) / 2.0);
    }
    sorted.get(middle).copied()
}

/// (max - min) / median; 0 for fewer than two values.
///
/// With more rounds than `wanted` it is that of the narrowest majority, and of no fewer than `wanted`: rounds that
/// were added because of one disturbed round must be able to outvote it. The median is still that of all.
pub(crate) fn spread(values: &[f64], wanted: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let majority = (sorted.len() / 2 + 1).max(wanted).min(sorted.len());
    let Some(median) = median(values).filter(|median| *median > 0.0) else { return 0.0 };
    if majority < 2 {
        return 0.0;
    }
    let widths = sorted.windows(majority).map(|part| part[majority - 1] - part[0]);
    widths.min_by(f64::total_cmp).map_or(0.0, |width| width / median)
}

/// `a / b`; `None` when there is nothing to divide by.
pub(crate) fn ratio(a: f64, b: f64) -> Option<f64> {
    (b != 0.0).then_some(a / b).filter(|ratio| ratio.is_finite())
}

/// Five digits: more are not worth their place in the results file.
pub(crate) fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10f64.powf(4.0 - value.abs().log10().floor());
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 9.0]), Some(3.0));
        assert_eq!(median(&[f64::NAN, 2.0]), Some(2.0));
    }

    #[test]
    fn the_spread_is_that_of_all_rounds_that_were_asked_for() {
        assert_eq!(spread(&[], 3), 0.0);
        assert_eq!(spread(&[5.0], 3), 0.0);
        assert_eq!(spread(&[100.0, 90.0, 150.0], 3), 0.6);
        assert_eq!(spread(&[0.0, 0.0], 2), 0.0);
    }

    #[test]
    fn further_rounds_outvote_one_disturbed_round_but_not_a_minority_of_good_ones() {
        assert!(spread(&[100.0, 101.0, 300.0, 102.0, 99.0], 3) < 0.03);
        assert!(spread(&[100.0, 200.0, 300.0, 101.0, 400.0], 3) > 0.3);
    }

    #[test]
    fn five_digits_are_kept() {
        assert_eq!(rounded(369_139.904), 369_140.0);
        assert_eq!(rounded(-0.123_456_7), -0.12346);
        assert_eq!(rounded(0.0), 0.0);
    }

    #[test]
    fn nothing_is_divided_by_nothing() {
        assert_eq!(ratio(6.0, 2.0), Some(3.0));
        assert_eq!(ratio(6.0, 0.0), None);
    }
}
