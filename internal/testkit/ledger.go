package testkit

import "fmt"

// CheckLedger returns where got differs from what was sent: 0, 1, 2 and so on, n numbers.
func CheckLedger(got []int, n int) error {
	seen := map[int]int{}
	for i, v := range got {
		if at, ok := seen[v]; ok {
			return fmt.Errorf("repeat: %d came at %d and again at %d", v, at, i)
		}
		seen[v] = i
		if v < i {
			return fmt.Errorf("swap: %d came at %d, late", v, i)
		}
	}
	for i, v := range got {
		if v != i {
			if _, ok := seen[i]; ok {
				return fmt.Errorf("swap: %d came before %d", v, i)
			}
			return fmt.Errorf("gap: %d is missing", i)
		}
	}
	if len(got) != n {
		return fmt.Errorf("end: %d came of %d", len(got), n)
	}
	return nil
}
