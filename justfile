# Shortcuts: every command here also works without just.

# List the commands
default:
    @just --list

# Run the demo on a stand-in for ConnectWise
demo:
    cargo run -- demo

# Run everything that must pass before a merge
test:
    scripts/test

# Run some integration tests on both databases: just only push::
only +FILTER:
    scripts/test --postgres cargo test --locked --test api {{FILTER}}

# Write the OpenAPI document
openapi:
    cargo run -- openapi > openapi/openapi.json
