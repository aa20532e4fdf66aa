package discoro

import (
	"strings"
	"testing"
)

func TestParseLocation(t *testing.T) {
	t.Parallel()
	good := map[string]Location{
		"10.0.0.7:51347":                {"10.0.0.7", 51347},
		"[::1]:51347":                   {"::1", 51347},
		"[fe80::1%eth0]:1":              {"fe80::1%eth0", 1},
		"host:1":                        {"host", 1},
		"a-host.example.org:65535":      {"a-host.example.org", 65535},
		"xn--bcher-kva.example:80":      {"xn--bcher-kva.example", 80},
		strings.Repeat("h", 255) + ":1": {strings.Repeat("h", 255), 1},
	}
	for s, want := range good {
		got, err := ParseLocation(s)
		if err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", s, got, err, want)
		}
		if got.String() != s {
			t.Errorf("%q became %q", s, got)
		}
		if got.IsZero() {
			t.Errorf("%q is zero", s)
		}
	}
	bad := []string{
		"", "host", "host:", ":80", "host:0", "host:65536", "host:-1", "host:+80", "host:8o", "host:0x50", "host: 80", "host:80 ",
		"::1:80", "[::1]", "[::1]80", "[]:80", "[[::1]]:80", "[host:80", "a b:80", "a\n:80", "a\x00:80", "\xff:80", "a/b:80",
		"http://host:80", "host:80/path", "host:99999999999999999999", strings.Repeat("h", 256) + ":1", "\u00a0:80", "\u202e:80",
	}
	for _, s := range bad {
		if got, err := ParseLocation(s); err == nil {
			t.Errorf("%q is read as %+v", s, got)
		} else if !strings.Contains(err.Error(), "discoro: location ") {
			t.Errorf("%q: %v does not say what it is about", s, err)
		}
	}
	if !(Location{}).IsZero() {
		t.Error("the zero Location is not zero")
	}
}

func FuzzParseLocation(f *testing.F) {
	for _, s := range []string{"10.0.0.7:51347", "[::1]:1", "[fe80::1%eth0]:1", "host:65535", "[a]:1", "::1:80", "a:b:c", "[:]:1", "host:007"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, err := ParseLocation(s)
		if err != nil {
			if l != (Location{}) {
				t.Fatalf("%q: %+v with an error", s, l)
			}
			return
		}
		if l.Port < 1 || l.Port > 65535 || l.Addr == "" {
			t.Fatalf("%q is read as %+v", s, l)
		}
		if again, err := ParseLocation(l.String()); err != nil || again != l {
			t.Fatalf("%q is read as %+v, that as %+v, %v", s, l, again, err)
		}
	})
}
