//! From a date to seconds, as UEFI firmware tells the time (UEFI 2.10, 8.3.1, EFI_TIME).

/// A date and time of the Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date {
    /// Year, from 1970.
    pub year: u16,
    /// Month, from 1.
    pub month: u8,
    /// Day of the month, from 1.
    pub day: u8,
    /// Hour, minute and second.
    pub time: [u8; 3],
    /// Minutes that UTC is ahead of it; `None` if the firmware does not say, which counts as UTC.
    pub zone: Option<i16>,
}

impl Date {
    /// Seconds since the beginning of 1970, UTC; `None` if there is no such date, or it lies
    /// before.
    pub fn seconds(self) -> Option<u64> {
        let [hour, minute, second] = self.time.map(u64::from);
        let good = (1970..=9999).contains(&self.year) && hour < 24 && minute < 60 && second < 60;
        let month = usize::from(self.month).checked_sub(1).filter(|month| *month < 12)?;
        let (year, day) = (u64::from(self.year), u64::from(self.day));
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let lengths = [31, 28 + u64::from(is_leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        if !good || !(1..=lengths[month]).contains(&day) {
            return None;
        }
        let before = year - 1;
        let leap_days = |last: u64| last / 4 - last / 100 + last / 400;
        let days = (year - 1970) * 365 + leap_days(before) - leap_days(1969)
            + lengths[..month].iter().sum::<u64>()
            + day
            - 1;
        let local = days * 86_400 + hour * 3600 + minute * 60 + second;
        // EFI_TIME: local time is UTC less the zone.
        local.checked_add_signed(i64::from(self.zone.unwrap_or(0)) * 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn date(year: u16, month: u8, day: u8, time: [u8; 3], zone: Option<i16>) -> Date {
        Date { year, month, day, time, zone }
    }

    #[test]
    fn known_moments() {
        // By `date -u -d ... +%s`.
        for (moment, seconds) in [
            (date(1970, 1, 1, [0; 3], None), 0),
            (date(2000, 2, 29, [23, 59, 59], None), 951_868_799),
            (date(2026, 11, 29, [13, 20, 0], Some(0)), 1_795_958_400),
            (date(2026, 11, 29, [14, 20, 0], Some(-60)), 1_795_958_400),
            (date(2100, 3, 1, [0; 3], None), 4_107_542_400),
        ] {
            assert_eq!(moment.seconds(), Some(seconds), "{moment:?}");
        }
    }

    #[test]
    fn what_is_no_date() {
        for bad in [
            date(1969, 12, 31, [0; 3], None),
            date(2026, 0, 1, [0; 3], None),
            date(2026, 13, 1, [0; 3], None),
            date(2026, 2, 29, [0; 3], None),
            date(2100, 2, 29, [0; 3], None),
            date(2026, 4, 31, [0; 3], None),
            date(2026, 1, 0, [0; 3], None),
            date(2026, 1, 1, [24, 0, 0], None),
            date(2026, 1, 1, [0, 60, 0], None),
            date(2026, 1, 1, [0, 0, 60], None),
            date(1970, 1, 1, [0; 3], Some(-1)),
        ] {
            assert_eq!(bad.seconds(), None, "{bad:?}");
        }
    }

    proptest! {
        /// Whatever a firmware says; and the next day is a day later.
        #[test]
        fn any_date(year: u16, month in 0..14u8, day in 0..34u8, time: [u8; 3], zone: Option<i16>) {
            let today = date(year, month, day, time, zone);
            let tomorrow = Date { day: day + 1, ..today };
            if let (Some(first), Some(second)) = (today.seconds(), tomorrow.seconds()) {
                prop_assert_eq!(second - first, 86_400);
            }
        }
    }
}
