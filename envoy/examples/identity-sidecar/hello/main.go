// Command hello needs two modules that only a known account can have.
package main

import (
	"fmt"

	"example.com/greeting"
)

func main() {
	fmt.Println(greeting.To("builder"))
}
