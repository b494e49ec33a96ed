package supervise

import "time"

// RestartPolicy decides what follows when a part has died.
type RestartPolicy struct {
	// MaxDeaths within Within are answered by a restart; one more is not.
	MaxDeaths int
	Within    time.Duration
	// FirstDelay doubles with each recent death, up to MaxDelay.
	FirstDelay time.Duration
	MaxDelay   time.Duration
}

// DefaultPolicy suits parts that start within a few seconds.
var DefaultPolicy = RestartPolicy{
	MaxDeaths:  5,
	Within:     time.Minute,
	FirstDelay: 300 * time.Millisecond,
	MaxDelay:   10 * time.Second,
}

// Decide gives the delay before the next start after the deaths so far (oldest
// first, the newest included), or says to give up.
func (p RestartPolicy) Decide(deaths []time.Time, now time.Time) (delay time.Duration, giveUp bool) {
	recent := 0
	for _, death := range deaths {
		if now.Sub(death) < p.Within {
			recent++
		}
	}
	if recent > p.MaxDeaths {
		return 0, true
	}
	delay = p.FirstDelay
	for i := 1; i < recent && delay < p.MaxDelay; i++ {
		delay *= 2
	}
	return min(delay, p.MaxDelay), false
}
