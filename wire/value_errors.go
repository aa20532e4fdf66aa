package wire

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// What can be wrong with a value and its type, for errors.Is; see also the errors of [Check].
var (
	// ErrTypeUnknown is returned for a value inside an interface whose type is not registered.
	ErrTypeUnknown = errors.New("type not registered")
	// ErrValueType is returned for data that does not fit the type that it is decoded into.
	ErrValueType = errors.New("wrong type of data")
	// ErrValueField is returned by [Codec.DecodeStrict] for a field that the type does not have.
	ErrValueField = errors.New("unknown field")
	// ErrValueKey is returned for a map with two keys that are equal, at least after they have
	// travelled.
	ErrValueKey = errors.New("duplicate map key")
)

// TravelError says why values of a type cannot travel.
type TravelError struct {
	Root   reflect.Type // the type that was asked about
	Path   string       // from Root to the type that cannot travel, such as ".Items[].Done"; empty: Root itself
	Type   reflect.Type // the type that cannot travel
	Reason string       // why it cannot
}

// Error returns the field and the reason: "field Page.Done (chan int): channels cannot travel".
func (e *TravelError) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("%v: %s", e.Type, e.Reason)
	}
	return fmt.Sprintf("field %s%s (%v): %s", shortName(e.Root), e.Path, e.Type, e.Reason)
}

// below returns e as seen from a type that contains the Root of e at that step.
func (e *TravelError) below(step string) *TravelError {
	return &TravelError{Path: step + e.Path, Type: e.Type, Reason: e.Reason}
}

// ValueError says which part of a value could not be encoded or decoded, and why.
type ValueError struct {
	Op   string       // "encode" or "decode"
	Type reflect.Type // of the whole value
	Path string       // from the whole value to the part, such as ".Items[3].Name"; empty: the whole
	Err  error        // why
}

// Error returns the operation, the type, the part and the reason.
func (e *ValueError) Error() string {
	return fmt.Sprintf("%s %s%s: %v", e.Op, shortName(e.Type), shortPath(e.Path), e.Err)
}

// Unwrap returns the reason.
func (e *ValueError) Unwrap() error { return e.Err }

// shortName returns the name of t in errors.
func shortName(t reflect.Type) string {
	if t == nil {
		return "value"
	}
	if t == anyType {
		return "any"
	}
	if name := t.Name(); name != "" {
		return name
	}
	return t.String()
}

// shortPath returns path, without its middle if it is long: the path of a cycle repeats itself.
func shortPath(path string) string {
	const most = 120
	if len(path) <= most {
		return path
	}
	return path[:most*2/3] + "..." + path[len(path)-most/3:]
}

// atStep returns err with the information that it happened below step. Paths are made only after an
// error, on the way out.
func atStep(err error, step string) error {
	ve, ok := err.(*ValueError) //nolint:errorlint // it is not wrapped yet
	if !ok {
		return &ValueError{Path: step, Err: err}
	}
	ve.Path = step + ve.Path
	return ve
}

func atIndex(err error, i int) error { return atStep(err, "["+strconv.Itoa(i)+"]") }

func atKey(err error, key reflect.Value) error {
	if key.Kind() == reflect.String {
		return atStep(err, "["+strconv.Quote(key.String())+"]")
	}
	return atStep(err, "[...]")
}

// completed returns err as the error of a whole operation.
func completed(err error, op string, t reflect.Type) error {
	err = atStep(err, "")
	ve := err.(*ValueError) //nolint:errorlint // atStep returns nothing else
	ve.Op, ve.Type = op, t
	return ve
}

// mismatch returns the error of data that is a got where a t is expected.
func mismatch(got string, t reflect.Type) error {
	return fmt.Errorf("%w: %s for a %v", ErrValueType, got, t)
}

// unknownType returns the error of a value in an interface whose type t has no name, because of the
// type culprit in it.
func unknownType(t, culprit reflect.Type) error {
	name, _, _ := strings.Cut(culprit.String(), "[")
	if !validTypeName(name) {
		name = "a name"
	}
	of := ""
	if t != culprit {
		of = fmt.Sprintf(", in a %v", t)
	}
	return fmt.Errorf("%w: %v%s: call discoro.RegisterType[%v](%q) in every program that it travels to",
		ErrTypeUnknown, culprit, of, strings.TrimPrefix(culprit.String(), "main."), name)
}

// unknownName returns the error of a name that no type has here.
func unknownName(name string) error {
	return fmt.Errorf("%w: %q: this program must call discoro.RegisterType with that name", ErrTypeUnknown, name)
}
