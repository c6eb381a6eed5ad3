#!/bin/sh
# Stands before the compiler. Only crates that read a text are instrumented: coverage of the whole engine would take an hour to compile,
# and drown theirs. No crate is compiled as one unit, which only cross-crate inlining would gain from.
compiler=$1
shift
crate=
before=
for argument; do
    [ "$before" = --crate-name ] && crate=$argument
    before=$argument
done
case $crate in
perennial | lettre | mail_parser | sqlparser | datafusion_sql | toml | toml_* | serde_spanned | winnow) instrumented=yes ;;
*) instrumented= ;;
esac
for argument; do
    shift
    case $argument in
    -Ccodegen-units=1) ;;
    -Cpasses=sancov-module | -Cllvm-args=-sanitizer-coverage-*) [ "$instrumented" ] && set -- "$@" "$argument" ;;
    *) set -- "$@" "$argument" ;;
    esac
done
exec "$compiler" "$@"
