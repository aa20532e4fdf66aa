package discoro

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"github.com/discoro/discoro/internal/fault"
	"github.com/discoro/discoro/wire"
)

// registry holds what this program can run: the one piece of package-level state, besides the types and errors that
// values holds. It is filled by package-level variables and init functions, in any order.
var registry = functions{byName: map[string]*function{}}

type functions struct {
	mu     sync.Mutex // guards following; leaf
	byName map[string]*function
	sorted []string // the names; nobody changes it; nil: not made since the last add
	sum    uint64   // of sorted
}

// function is one registered function.
type function struct {
	name  string // immutable
	where string // immutable: source line of the Register
	arg   reflect.Type
	// run decodes the argument and calls the function; it runs in the coroutine.
	run func(c *Coro, call *wire.FuncCall) (any, error)
}

// None is the argument or result of functions that have none.
type None = struct{}

// Register makes fn known by name in this program, so that a computation can run it here, and returns what a client
// calls it with. Call it for a package-level variable, so that every program that is built with the package has it:
//
//	var words = discoro.Register("words", func(c *discoro.Coro, p Page) (int, error) { ... })
//
// fn runs as a coroutine. Its argument and result may be any types that can travel: exported fields, no channels or
// functions; they need no RegisterType. Register panics when the name is taken, and when a type cannot travel.
func Register[A, R any](name string, fn func(c *Coro, arg A) (R, error)) Func[A, R] {
	where := callerLine(2)
	f := &function{name: name, where: where, arg: reflect.TypeFor[A]()}
	f.run = func(c *Coro, call *wire.FuncCall) (any, error) {
		var arg A
		if err := decodeArg(c.rt, call, &arg); err != nil {
			return nil, err
		}
		return fn(c, arg)
	}
	if err := registry.add(f, fn == nil, reflect.TypeFor[R]()); err != nil {
		panic(fmt.Sprintf("discoro: Register(%q) at %s: %v", name, where, err)) //nolint:forbidigo // a compiler should have caught it
	}
	return Func[A, R]{name: name}
}

func (r *functions) add(f *function, isNil bool, res reflect.Type) error {
	switch {
	case f.name == "" || len(f.name) > maxName:
		return fmt.Errorf("a name has 1 to %d bytes", maxName)
	case isNil:
		return errors.New("the function is nil")
	}
	if err := values.CanTravel(f.arg); err != nil {
		return fmt.Errorf("the argument cannot travel: %w", err)
	}
	if err := values.CanTravel(res); err != nil {
		return fmt.Errorf("the result cannot travel: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if other := r.byName[f.name]; other != nil {
		return fmt.Errorf("the name is taken by the Register at %s", other.where)
	}
	r.byName[f.name], r.sorted = f, nil
	return nil
}

// callerLine tells which source line called, skip frames up.
func callerLine(skip int) string {
	_, file, line, _ := runtime.Caller(skip)
	return fmt.Sprintf("%s:%d", file, line)
}

// names returns the registered names, sorted. The caller must not change them.
func (r *functions) names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sortLocked()
	return r.sorted
}

// hash tells registries apart, in messages to people.
func (r *functions) hash() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sortLocked()
	return r.sum
}

// sortLocked makes what every greeting and offer tells, once: a process may have thousands of servers.
func (r *functions) sortLocked() {
	if r.sorted != nil {
		return
	}
	r.sorted = slices.Sorted(maps.Keys(r.byName))
	h := fnv.New64a()
	for _, name := range r.sorted {
		h.Write([]byte(name))
		h.Write([]byte{0})
	}
	r.sum = h.Sum64()
}

// find returns the function of that name, or an error that lists near names and says what program this is.
func (r *functions) find(name, build string) (*function, error) {
	r.mu.Lock()
	f := r.byName[name]
	r.mu.Unlock()
	if f != nil {
		return f, nil
	}
	return nil, fault.New(
		fmt.Sprintf("discoro: function %q is not registered in this program (%s): %s", name, build, nearNames(name, r.names())),
		ErrNotRegistered,
	)
}

// nearNames tells which of names might have been meant.
func nearNames(name string, names []string) string {
	if len(names) == 0 {
		return "it has registered none"
	}
	const most = 5
	near := slices.Clone(names)
	dist := make(map[string]int, len(names))
	for _, n := range names {
		dist[n] = editDistance(strings.ToLower(name), strings.ToLower(n))
	}
	slices.SortStableFunc(near, func(a, b string) int { return cmp.Compare(dist[a], dist[b]) })
	if dist[near[0]] <= max(2, len(name)/3) {
		near = slices.DeleteFunc(near, func(n string) bool { return dist[n] > max(2, len(name)/3) })
		return fmt.Sprintf("is %q meant?", near[:min(len(near), most)])
	}
	if len(near) <= most {
		return fmt.Sprintf("it has %q", names)
	}
	return fmt.Sprintf("it has %d others, %q among them", len(near), near[:most])
}

// editDistance counts the letters to insert, remove or change to get from a to b.
func editDistance(a, b string) int {
	if len(a) > maxName || len(b) > maxName {
		return maxName
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diag
			if a[i] != b[j] {
				change++
			}
			diag = row[j+1]
			row[j+1] = min(change, row[j]+1, diag+1)
		}
	}
	return row[len(b)]
}

// Func is a registered function, with its argument and result checked by the compiler.
type Func[A, R any] struct{ name string }

// Name returns the name that the function was registered with.
func (f Func[A, R]) Name() string { return f.name }

// With makes a call with arg, ready to run somewhere. The argument is encoded here: later changes to it have no effect,
// and when it cannot travel, whatever is done with the call returns that error and sends nothing.
func (f Func[A, R]) With(arg A) Call[R] {
	s := &callSpec{fn: f.name, arg: arg}
	if f.name == "" {
		s.err = errors.New("discoro: call of a Func that no Register returned")
		return Call[R]{s}
	}
	s.encoded, s.err = encodeAs(reflect.TypeFor[A](), arg, nil)
	if s.err != nil {
		s.err = fault.Because(s.err, "argument of %s", f.name)
	}
	return Call[R]{s}
}

// Call is a function with its argument, ready to run. It can be run any number of times.
type Call[R any] struct{ s *callSpec }

func (c Call[R]) spec() *callSpec { return c.s }

// Task is what the run verbs take: any [Call].
type Task interface{ spec() *callSpec }

// callSpec is a Call without its type.
type callSpec struct {
	fn      string // immutable
	arg     any    // immutable: for people to see
	encoded []byte // immutable
	typ     string // immutable: by which the argument's type is known, for a call by name
	strict  bool   // immutable: a call by name
	err     error  // immutable: why it cannot be run
}

// Named makes a call of a function that this program need not have, by its name. arg is checked against the function's
// argument where it runs: a struct must have no field that the other has not. Its result arrives in any, as the Go type
// that was returned, which must have a name on the wire (see RegisterType).
func Named(name string, arg any) Call[any] {
	s := &callSpec{fn: name, arg: arg, strict: true}
	switch {
	case name == "" || len(name) > maxName:
		s.err = fmt.Errorf("discoro: call by name: a name has 1 to %d bytes, not %d: %w", maxName, len(name), ErrRejected)
		return Call[any]{s}
	case arg == nil:
		s.encoded, s.err = encodeAs(reflect.TypeFor[None](), None{}, nil)
	default:
		s.typ = values.TypeName(reflect.TypeOf(arg))
		s.encoded, s.err = encodeAs(reflect.TypeOf(arg), arg, nil)
	}
	if s.err != nil {
		s.err = fault.Because(s.err, "argument of %s", name)
	}
	return Call[any]{s}
}

// specOf checks a task before it is run at rt.
func specOf(rt *Runtime, t Task) (*callSpec, error) {
	if t == nil || t.spec() == nil {
		return nil, errors.New("discoro: run: the Call is empty: make it by With or Named")
	}
	s := t.spec()
	if s.err != nil {
		return nil, s.err
	}
	if len(s.encoded) > rt.cfg.MaxMessage {
		return nil, fmt.Errorf("discoro: argument of %s: it has %d bytes, and Config.MaxMessage is %d: %w", s.fn, len(s.encoded), rt.cfg.MaxMessage, ErrTooLarge)
	}
	return s, nil
}

func (s *callSpec) wire() wire.FuncCall {
	return wire.FuncCall{Func: s.fn, Type: s.typ, Strict: s.strict, Arg: s.encoded}
}

// decodeArg decodes the argument of call into what the function takes.
func decodeArg[A any](rt *Runtime, call *wire.FuncCall, arg *A) error {
	takes := reflect.TypeFor[A]()
	var err error
	switch {
	case call.Strict && takes.Kind() == reflect.Interface:
		err = decodeDynamic(rt, call, arg)
	case call.Strict:
		if want := values.TypeName(takes); call.Type != "" && want != "" && call.Type != want {
			return fault.New(
				fmt.Sprintf("discoro: function %s takes %s, it was called with %s: %v", call.Func, takes, call.Type, ErrType),
				ErrType,
			)
		}
		err = values.DecodeStrict(call.Arg, arg, rt)
	default:
		err = values.Decode(call.Arg, arg, rt)
	}
	if err != nil {
		return fault.New(
			fmt.Sprintf("discoro: function %s takes %s, its argument does not decode into that: %v", call.Func, takes, err),
			ErrType, err,
		)
	}
	return nil
}

// decodeDynamic decodes the argument of a call by name of a function that takes an interface.
func decodeDynamic[A any](rt *Runtime, call *wire.FuncCall, arg *A) error {
	if call.Type == "" {
		return values.Decode(call.Arg, arg, rt)
	}
	v, err := values.DecodeNamed(call.Type, call.Arg, rt)
	if err != nil || v == nil {
		return err
	}
	a, ok := v.(A)
	if !ok {
		return fmt.Errorf("it is a %T: %w", v, ErrType)
	}
	*arg = a
	return nil
}

// RegisterType gives T a name on the wire: a T inside any (a message, an any-typed field) then arrives as a T, and a *T as a *T. Every
// program that sends or receives it must register it with the same name. RegisterType panics when the name or the
// type is taken, and when T cannot travel.
func RegisterType[T any](name string) {
	if err := values.RegisterType(name, reflect.TypeFor[T]()); err != nil {
		panic(fmt.Sprintf("discoro: RegisterType(%q) at %s: %v", name, callerLine(2), err)) //nolint:forbidigo // a compiler should have caught it
	}
}

// RegisterError gives an error value a name on the wire: errors.Is(err, target) then holds on the other side when err
// wrapped target here. Every program that is to know it must register it with the same name. RegisterError panics when the
// name or the error is taken.
func RegisterError(name string, target error) {
	if err := sentinels.add(name, target); err != nil {
		panic(fmt.Sprintf("discoro: RegisterError(%q) at %s: %v", name, callerLine(2), err)) //nolint:forbidigo // a compiler should have caught it
	}
}

// buildInfo says what program this is.
func buildInfo() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return runtime.Version()
	}
	text := info.Path
	if v := info.Main.Version; v != "" && v != "(devel)" {
		text += "@" + v
	}
	return strings.TrimSpace(text + " " + info.GoVersion)
}
