//go:build tools

// Names the programs of KEDA that tests and the bench build, so that "go mod tidy" keeps what they need.
package keda

import (
	_ "github.com/kedacore/keda/v2/cmd/adapter"
	_ "github.com/kedacore/keda/v2/cmd/operator"
	_ "github.com/kedacore/keda/v2/cmd/webhooks"
)
