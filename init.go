package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/popcheck/popcheck/harness"
)

type initCommand struct {
	Issuer   string `arg:"" optional:"" name:"issuer-url" help:"The issuer, letter by letter as the server says it."`
	Resource string `placeholder:"URL" help:"What access tokens open. Without an issuer: a resource server alone."`
	Out      string `placeholder:"FILE" help:"Write the target file there; it must not exist. Default: print it."`
	CA       string `name:"ca" placeholder:"FILE" help:"A CA to trust beside those of the system, PEM."`
}

// Run asks the issuer for its metadata, and nobody for anything else.
func (c *initCommand) Run(ctx context.Context, w streams) error {
	if c.Issuer == "" && c.Resource == "" {
		return fmt.Errorf("init needs the issuer of an authorization server, or --resource URL for a resource server alone")
	}
	text, err := c.draft(ctx, w)
	if err != nil {
		return err
	}
	if c.Out == "" {
		_, err := io.WriteString(w.out, text)
		return err
	}
	file, err := os.OpenFile(c.Out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // it will hold secrets
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("--out: %s exists already; name another file, or remove it", c.Out)
	}
	if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	_, err = io.WriteString(file, text)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	fmt.Fprintf(w.out, "written: %s; fill it in, then: popcheck check %s\n", c.Out, c.Out)
	return nil
}

// draft is the text of the target file. What the command line names has to be what a target file may name.
func (c *initCommand) draft(ctx context.Context, w streams) (string, error) {
	start := "authorized: true\n"
	if c.CA != "" {
		start += fmt.Sprintf("tls: {ca: %q}\n", c.CA)
	}
	if c.Resource != "" {
		alone := fmt.Sprintf("%sresources: [{name: api, url: %q}]\ntoken_issuer: {issuer: \"http://127.0.0.1:9400\"}\n", start, c.Resource)
		if _, err := harness.ParseTarget("popcheck init", ".", []byte(alone)); err != nil {
			return "", err
		}
	}
	if c.Issuer == "" {
		return harness.DraftResource(c.Resource, c.CA), nil
	}
	start += fmt.Sprintf("issuer: %q\nclients: [{client_id: none, token_endpoint_auth_method: none, redirect_uris: [\"https://client.example/cb\"]}]\nusers: [{username: nobody, password: none}]\n", c.Issuer)
	target, err := harness.ParseTarget("popcheck init", ".", []byte(start))
	if err != nil {
		return "", err
	}
	t, err := harness.NewTester(target, version)
	if err != nil {
		return "", err
	}
	defer t.Close()
	defer context.AfterFunc(ctx, func() { t.Stop("the command was interrupted") })()
	metadata := t.Trace(ctx, "init").Discover()
	if metadata.Unreached {
		hint := "is the server running, and the issuer right?"
		if strings.Contains(metadata.Problem, string(harness.UntrustedServer)) {
			hint = "here with --ca FILE"
		}
		return "", failure{exitIncomplete, fmt.Errorf("%s; %s", oneLine(metadata.Problem), hint)}
	}
	text := harness.Draft(target.Issuer, c.Resource, c.CA, metadata)
	if said := metadata.String("issuer"); metadata.Problem == "" && said != target.Issuer {
		fmt.Fprintf(w.err, "popcheck: the metadata names the issuer %s, you %s; they must be identical (RFC 8414 §3.3)\n", oneLine(said), target.Issuer)
	}
	if metadata.Problem != "" {
		fmt.Fprintf(w.err, "popcheck: no metadata was found (%s); the endpoints have to be named by hand\n", oneLine(metadata.Problem))
	}
	return text, nil
}
