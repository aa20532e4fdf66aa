package discoro

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// panicOf returns the text of f's panic, "" when f does not panic.
func panicOf(f func()) (text string) {
	defer func() {
		if p := recover(); p != nil {
			text = fmt.Sprint(p)
		}
	}()
	f()
	return ""
}

type cannotTravel struct {
	Name string
	Deep []struct{ Done chan int }
}

func TestRegisterPanics(t *testing.T) {
	Register("registry.taken", func(*Coro, int) (int, error) { return 0, nil })
	for name, tc := range map[string]struct {
		register func()
		want     []string
	}{
		"name taken": {
			func() { Register("registry.taken", func(*Coro, int) (int, error) { return 0, nil }) },
			[]string{"registry.taken", "registry_test.go:28", "registry_test.go:34"},
		},
		"argument with a channel": {
			func() { Register("registry.a", func(*Coro, cannotTravel) (int, error) { return 0, nil }) },
			[]string{"argument", "Done", "chan int"},
		},
		"result with a function": {
			func() { Register("registry.b", func(*Coro, int) (func(), error) { return nil, nil }) },
			[]string{"result", "func()"},
		},
		"no name": {
			func() { Register("", func(*Coro, int) (int, error) { return 0, nil }) },
			[]string{"name", "1 to 256 bytes"},
		},
		"nil function": {
			func() { Register[int, int]("registry.c", nil) },
			[]string{"nil"},
		},
		"type name taken": {
			func() { RegisterType[struct{ A int }]("discoro.Location") },
			[]string{"discoro.Location", "registry_test.go"},
		},
		"error name taken": {
			func() { RegisterError("discoro.closed", errors.New("another")) },
			[]string{"discoro.closed"},
		},
		"error taken": {
			func() { RegisterError("registry.closed", ErrClosed) },
			[]string{"discoro.closed"},
		},
		"nil error": {
			func() { RegisterError("registry.nil", nil) },
			[]string{"nil"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := panicOf(tc.register)
			for _, want := range tc.want {
				if !strings.Contains(got, want) {
					t.Errorf("panic %q does not name %q", got, want)
				}
			}
		})
	}
	if _, err := registry.find("registry.a", "this build"); !errors.Is(err, ErrNotRegistered) || !strings.Contains(err.Error(), "this build") {
		t.Errorf("a function whose Register panicked: %v, want ErrNotRegistered that says what program it is", err)
	}
}

func TestNearNames(t *testing.T) {
	for _, tc := range []struct {
		name  string
		names []string
		want  string
	}{
		{"wrods", []string{"words", "lines"}, `is ["words"] meant?`},
		{"Words", []string{"words", "lines"}, `is ["words"] meant?`},
		{"something else", []string{"words", "lines"}, `it has ["words" "lines"]`},
		{"x", nil, "it has registered no function"},
		{"something else", []string{"a", "b", "c", "d", "e", "f", "g"}, "it has 7 others"},
	} {
		if got := nearNames(tc.name, tc.names); !strings.Contains(got, tc.want) {
			t.Errorf("nearNames(%q, %q) = %q, want %q in it", tc.name, tc.names, got, tc.want)
		}
	}
}

func TestNearNamesOfLongNames(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	if got := editDistance(long, "y"); got < 100 {
		t.Errorf("distance %d", got)
	}
}

func TestCallIsASnapshot(t *testing.T) {
	f := Func[[]int, int]{name: "snapshot"}
	arg := []int{1, 2}
	call := f.With(arg)
	arg[0] = 99
	var got []int
	if err := values.Decode(call.s.encoded, &got, nil); err != nil || !slices.Equal(got, []int{1, 2}) {
		t.Errorf("the call has %v, %v; want what the argument was when it was made", got, err)
	}
}

func TestSpecOf(t *testing.T) {
	rt := &Runtime{}
	rt.cfg.MaxMessage = 10
	f := Func[string, int]{name: "f"}
	var cyclic []any
	cyclic = append(cyclic, nil)
	cyclic[0] = cyclic
	for name, tc := range map[string]struct {
		task Task
		want string
	}{
		"fine":             {f.With("short"), ""},
		"nil":              {nil, "empty"},
		"zero Call":        {Call[int]{}, "empty"},
		"zero Func":        {Func[int, int]{}.With(1), "no Register"},
		"too large":        {f.With(strings.Repeat("x", 100)), "MaxMessage"},
		"not UTF-8":        {f.With("\xff"), "UTF-8"},
		"no name":          {Named("", 1), "name"},
		"cannot travel":    {Named("f", make(chan int)), "chan int"},
		"cyclic":           {Named("f", cyclic), "cycle"},
		"type not any's":   {Named("f", struct{ A any }{struct{ B int }{1}}), "RegisterType"},
		"named, no arg":    {Named("f", nil), ""},
		"named, with args": {Named("f", 1), ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := specOf(rt, tc.task)
			switch {
			case tc.want == "" && err != nil:
				t.Error(err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("error %v, want %q in it", err, tc.want)
			}
		})
	}
	if _, err := specOf(rt, f.With(strings.Repeat("x", 100))); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v is not ErrTooLarge", err)
	}
	if _, err := specOf(rt, Named("f", struct{ A any }{struct{ B int }{1}})); !errors.Is(err, ErrTypeNotRegistered) {
		t.Errorf("%v is not ErrTypeNotRegistered", err)
	}
}

type strictArg struct{ A, B int }

func TestDecodeArg(t *testing.T) {
	decode := func(call Call[any]) (strictArg, error) {
		w := call.s.wire()
		w.Arg = call.s.encoded
		var arg strictArg
		err := decodeArg(&Runtime{}, &w, &arg)
		return arg, err
	}
	if got, err := decode(Named("f", map[string]int{"A": 1})); err != nil || got != (strictArg{A: 1}) {
		t.Errorf("fewer fields: %v, %v", got, err)
	}
	if got, err := decode(Named("f", struct{ B int }{2})); err != nil || got != (strictArg{B: 2}) {
		t.Errorf("another struct with fewer fields: %v, %v", got, err)
	}
	for name, arg := range map[string]any{
		"a field too many": struct{ A, C int }{1, 2},
		"another kind":     "text",
		"a number":         7,
		"wrong field type": struct{ A string }{"x"},
	} {
		if _, err := decode(Named("f", arg)); !errors.Is(err, ErrType) || !strings.Contains(err.Error(), "strictArg") {
			t.Errorf("%s: error %v, want ErrType that names the type", name, err)
		}
	}
}

func TestArgumentOfInterfaceType(t *testing.T) {
	f := Func[any, any]{name: "f"}
	for _, call := range []*callSpec{f.With(int32(7)).s, Named("f", int32(7)).s} {
		w := call.wire()
		w.Arg = call.encoded
		var arg any
		if err := decodeArg(&Runtime{}, &w, &arg); err != nil || arg != int32(7) {
			t.Errorf("%#v, %v; want int32(7)", arg, err)
		}
	}
}
