# A convenience: every line works without just, too.

# The commands
default:
    @just --list

# The whole job on a stand-in for ConnectWise
demo:
    cargo run -- demo

# Everything that must pass before a merge
test:
    scripts/test

# Some integration tests on both databases: just only push::
only +FILTER:
    scripts/test --postgres cargo test --locked --test api {{FILTER}}

# Writes the OpenAPI document
openapi:
    cargo run -- openapi > openapi/openapi.json
