// Package words knows one.
package words

// Hello is it.
const Hello = "Hello"
