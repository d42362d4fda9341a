#!/bin/sh
# Creates what raft-azure needs on Azure: a resource group and a Service Bus namespace of the
# Standard tier (the cheapest with topics). Prints one line for your shell:
#
#     export CONNECTION_STRING='Endpoint=sb://…'
#
# Running it again changes nothing and prints the line again.
set -eu

RULE=RootManageSharedAccessKey
TAG=created-by=raft-azure-setup

resource_group=raft-azure
location=westus
namespace=
delete=false
yes=false

usage() {
    cat <<'TEXT'
Usage: setup.sh [OPTIONS]

Creates a resource group and a Service Bus namespace (Standard tier) with the Azure CLI, and prints
the connection string as an `export CONNECTION_STRING=…` line on standard output. It holds a key:
use it with eval, do not paste it anywhere. A namespace costs money while it exists.

Options:
  -g, --resource-group NAME   resource group to create or use   [default: raft-azure]
  -l, --location NAME         where (az account list-locations) [default: westus]
  -n, --namespace NAME        namespace to create or use; the name must be free in all of Azure
                              [default: raft- and a number made from your subscription]
      --delete                delete the namespace, and the group if this script made it and
                              nothing else is in it
  -y, --yes                   do not ask before deleting
  -h, --help                  this text

Examples:
  eval "$(./setup.sh)"                                      # set up, and set CONNECTION_STRING
  ./setup.sh --location westeurope --namespace my-raft-bus
  ./setup.sh --delete
TEXT
}

say() { printf '%s\n' "$*" >&2; }
fail() { say "setup.sh: $*"; exit 1; }
wrong_usage() { say "setup.sh: $* (try --help)"; exit 2; }

while [ $# -gt 0 ]; do
    case $1 in
        -g | --resource-group | -l | --location | -n | --namespace)
            if [ -z "${2-}" ]; then wrong_usage "$1 needs a value"; fi
            case $1 in
                -g | --resource-group) resource_group=$2 ;;
                -l | --location) location=$2 ;;
                -n | --namespace) namespace=$2 ;;
            esac
            shift 2
            ;;
        --delete) delete=true; shift ;;
        -y | --yes) yes=true; shift ;;
        -h | --help) usage; exit 0 ;;
        *) wrong_usage "unknown option: $1" ;;
    esac
done

if [ -n "$namespace" ]; then
    case $namespace in
        [!A-Za-z]* | *[!A-Za-z0-9-]* | *-) wrong_usage "not a namespace name: $namespace" ;;
    esac
    if [ ${#namespace} -lt 6 ] || [ ${#namespace} -gt 50 ]; then
        wrong_usage "a namespace name has 6 to 50 characters: $namespace"
    fi
fi

command -v az >/dev/null 2>&1 ||
    fail "the Azure CLI is not installed; see https://learn.microsoft.com/cli/azure/install-azure-cli"
subscription=$(az account show --query id --output tsv 2>/dev/null) ||
    fail "you are not logged in; run: az login"
[ -n "$subscription" ] || fail "no subscription is selected; run: az account set --subscription ID"

if [ -z "$namespace" ]; then
    # The same subscription always gives the same name, so that a second run finds the first one's.
    namespace=raft-$(printf '%s' "$subscription" | cksum | cut -d ' ' -f 1)
fi
group_exists() { [ "$(az group exists --name "$resource_group" --output tsv)" = true ]; }

namespace_exists() {
    az servicebus namespace show --resource-group "$resource_group" --name "$namespace" \
        --output none 2>/dev/null
}

tear_down() {
    group_exists || { say "Nothing to delete: there is no resource group $resource_group."; return; }
    if ! $yes; then
        [ -t 0 ] || fail "cannot ask without a terminal; add --yes to delete $namespace"
        printf 'Delete the namespace %s with all its topics? [y/N] ' "$namespace" >&2
        read -r answer
        case $answer in y | Y | yes) ;; *) fail "nothing was deleted" ;; esac
    fi
    if namespace_exists; then
        say "Deleting the namespace $namespace …"
        az servicebus namespace delete --resource-group "$resource_group" --name "$namespace" \
            --output none
    fi
    made_here=$(az group show --name "$resource_group" \
        --query "tags.\"${TAG%%=*}\" == '${TAG#*=}'" --output tsv)
    rest=$(az resource list --resource-group "$resource_group" --query 'length(@)' --output tsv)
    if [ "$made_here" = true ] && [ "$rest" = 0 ]; then
        say "Deleting the resource group $resource_group …"
        az group delete --name "$resource_group" --yes --output none
    else
        say "Keeping the resource group $resource_group: it is not ours alone."
    fi
}

set_up() {
    if ! group_exists; then
        say "Creating the resource group $resource_group in $location …"
        az group create --name "$resource_group" --location "$location" --tags "$TAG" \
            --output none
    fi
    if ! namespace_exists; then
        say "Creating the namespace $namespace (Standard tier); this takes a minute or two …"
        az servicebus namespace create --resource-group "$resource_group" --name "$namespace" \
            --location "$location" --sku Standard --output none ||
            fail "cannot create $namespace; perhaps the name is taken: choose one with --namespace"
    fi
    connection_string=$(az servicebus namespace authorization-rule keys list \
        --resource-group "$resource_group" --namespace-name "$namespace" --name "$RULE" \
        --query primaryConnectionString --output tsv)
    [ -n "$connection_string" ] ||
        fail "$namespace has no key: local authentication may be disabled by a policy"
    say "Ready. Delete it with: setup.sh --delete --resource-group $resource_group --namespace $namespace"
    printf "export CONNECTION_STRING='%s'\n" "$connection_string"
}

if $delete; then tear_down; else set_up; fi
