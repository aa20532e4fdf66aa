package main

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// calculator is the external program: it reads lines in reverse Polish notation, and answers each with a line.
func calculator(in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		v, err := calculate(lines.Text())
		answer := strconv.FormatFloat(v, 'g', -1, 64)
		if err != nil {
			answer = "error: " + err.Error()
		}
		if _, err := fmt.Fprintln(out, answer); err != nil {
			return err
		}
	}
	return lines.Err()
}

func calculate(line string) (float64, error) {
	var stack []float64
	for word := range strings.FieldsSeq(line) {
		if v, err := strconv.ParseFloat(word, 64); err == nil {
			stack = append(stack, v)
			continue
		}
		if len(stack) < 2 {
			return 0, fmt.Errorf("%s needs two numbers", word)
		}
		a, b := stack[len(stack)-2], stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		top := &stack[len(stack)-1]
		switch word {
		case "+":
			*top = a + b
		case "-":
			*top = a - b
		case "*":
			*top = a * b
		case "/":
			*top = a / b
		default:
			return 0, fmt.Errorf("%s is neither a number nor + - * /", word)
		}
	}
	if len(stack) != 1 {
		return 0, fmt.Errorf("%d numbers are left", len(stack))
	}
	return stack[0], nil
}
