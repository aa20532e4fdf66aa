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

// registry holds the functions that this program can run. It is the package's only state, besides
// the types and errors that values and sentinels hold. Package-level variables and init functions
// fill it, in any order.
var registry = functions{byName: map[string]*function{}}

type functions struct {
	mu     sync.Mutex // guards following; leaf
	byName map[string]*function
	sorted []string // the names; never changed in place; nil: not made since the last add
	sum    uint64   // a hash of sorted
}

// function is a registered function.
type function struct {
	name  string // immutable
	where string // immutable: the source line of Register
	arg   reflect.Type
	// run decodes the argument and calls the function. It runs in the coroutine.
	run func(c *Coro, call *wire.FuncCall) (any, error)
}

// None is the argument or the result of a function that has none.
type None = struct{}

// Register gives fn a name in this program, so that computations can run it here. It returns the
// [Func] that a client calls fn with. Call Register for a package-level variable, so that every
// program which is built with the package has the function:
//
//	var words = discoro.Register("words", func(c *discoro.Coro, p Page) (int, error) { ... })
//
// fn runs as a coroutine. Its argument and its result may have any types that can travel: exported
// fields, no channels and no functions. These types need no RegisterType. Register panics when the
// name is taken, and when a type cannot travel. It is safe for concurrent use. In asyncoro, a
// computation sends its functions as source text instead.
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
		misused("Register", name, where, err)
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

// misused panics: a compiler should have caught what is wrong with the registration.
func misused(what, name, where string, err error) {
	panic(fmt.Sprintf("discoro: %s(%q) at %s: %v", what, name, where, err)) //nolint:forbidigo // misuse
}

// callerLine returns the source line of the caller skip frames up.
func callerLine(skip int) string {
	_, file, line, _ := runtime.Caller(skip)
	return fmt.Sprintf("%s:%d", file, line)
}

// names returns the registered names, sorted. The caller must not change the slice.
func (r *functions) names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sortLocked()
	return r.sorted
}

// hash identifies a registry in messages to people.
func (r *functions) hash() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sortLocked()
	return r.sum
}

// sortLocked makes what every greeting and offer has, once: a process may have thousands of
// servers.
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

// find returns the function of that name. The error lists similar names, and says which program
// this is.
func (r *functions) find(name, build string) (*function, error) {
	r.mu.Lock()
	f := r.byName[name]
	r.mu.Unlock()
	if f != nil {
		return f, nil
	}
	return nil, fault.New(
		fmt.Sprintf("discoro: function %q is not registered in this program (%s): %s",
			name, build, nearNames(name, r.names())),
		ErrNotRegistered,
	)
}

// nearNames returns which of names may have been meant, in words.
func nearNames(name string, names []string) string {
	if len(names) == 0 {
		return "it has registered no function"
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

// editDistance counts the letters to insert, remove or change on the way from a to b.
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

// Func is a registered function. The compiler checks its argument and its result. [Register]
// returns it; its methods are safe for concurrent use.
type Func[A, R any] struct{ name string }

// Name returns the name that the function was registered with.
func (f Func[A, R]) Name() string { return f.name }

// With returns a call of the function with arg, ready to be run somewhere. It encodes arg, so later
// changes to arg have no effect. When arg cannot travel, every use of the call returns the error
// (ErrTypeNotRegistered, for example) and sends nothing. With does not block.
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

// Call is a function with its argument, ready to be run any number of times. [Func.With] and
// [Named] make it. Calls are safe for concurrent use.
type Call[R any] struct{ s *callSpec }

func (c Call[R]) spec() *callSpec { return c.s }

// Task is what the run methods take: any [Call].
type Task interface{ spec() *callSpec }

// callSpec is a Call without its type.
type callSpec struct {
	fn      string // immutable
	arg     any    // immutable: for CoroInfo
	encoded []byte // immutable
	typ     string // immutable: the wire name of the argument's type, in a call by name
	strict  bool   // immutable: it is a call by name
	err     error  // immutable: why it cannot be run
}

// Named returns a call of a function by its name. This program need not have the function. The
// server checks arg against the function's argument: a struct must have no field that the other has
// not. The result arrives as the Go type that the function returned, which must have a name on the
// wire (see [RegisterType]). Running the call returns ErrNotRegistered when the server's program
// has no such function, and ErrType when arg does not fit.
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

// specOf checks a task before it runs at rt.
func specOf(rt *Runtime, t Task) (*callSpec, error) {
	if t == nil || t.spec() == nil {
		return nil, errors.New("discoro: run: the Call is empty: make it by With or Named")
	}
	s := t.spec()
	if s.err != nil {
		return nil, s.err
	}
	if len(s.encoded) > rt.cfg.MaxMessage {
		return nil, fmt.Errorf("discoro: argument of %s has %d bytes, and Config.MaxMessage is %d: %w",
			s.fn, len(s.encoded), rt.cfg.MaxMessage, ErrTooLarge)
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
				fmt.Sprintf("discoro: function %s takes %s, and was called with %s: %v", call.Func, takes, call.Type, ErrType),
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

// decodeDynamic decodes the argument of a call by name, for a function that takes an interface.
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
		return fmt.Errorf("the argument is a %T: %w", v, ErrType)
	}
	*arg = a
	return nil
}

// RegisterType gives T a name on the wire. A T inside an interface (a message, a field of type any)
// then arrives as a T, and a *T as a *T. Every program that sends or receives T must register it
// with the same name. RegisterType panics when the name or the type is taken, and when T cannot
// travel. It is safe for concurrent use; call it from an init function.
func RegisterType[T any](name string) {
	if err := values.RegisterType(name, reflect.TypeFor[T]()); err != nil {
		misused("RegisterType", name, callerLine(2), err)
	}
}

// RegisterError gives an error value a name on the wire. When an error that wraps target arrives in
// another runtime, errors.Is(err, target) holds there. Every program that compares with target must
// register it with the same name. RegisterError panics when the name or the error is taken. It is
// safe for concurrent use; call it from an init function.
func RegisterError(name string, target error) {
	if err := sentinels.add(name, target); err != nil {
		misused("RegisterError", name, callerLine(2), err)
	}
}

// buildInfo returns which program this is, in words.
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
