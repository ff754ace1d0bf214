#!/usr/bin/env bash
# Two people and an ssh server on this machine: whoever repeats an experiment of the other executes nothing but `report`.
# Needs sshd (openssh-server). Some minutes: it runs the workflow, small.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
port=${PORT:-22022}
product=$PWD

sshd=$(command -v sshd || command -v /usr/sbin/sshd) || { echo "sshd is not installed: apt-get install openssh-server"; exit 1; }
ssh-keygen -q -t ed25519 -N "" -f "$work/host"
ssh-keygen -q -t ed25519 -N "" -f "$work/key"
mkdir -p /run/sshd "$work/store"
cat >"$work/sshd_config" <<CONFIG
Port $port
ListenAddress 127.0.0.1
HostKey $work/host
AuthorizedKeysFile $work/key.pub
PidFile $work/sshd.pid
StrictModes no
PasswordAuthentication no
UsePAM no
Subsystem sftp internal-sftp
CONFIG
chmod go-w "$work/key.pub"
"$sshd" -f "$work/sshd_config" -E "$work/sshd.log"
trap 'kill "$(cat "$work/sshd.pid")"; rm -rf "$work"' EXIT
sleep 1

say() { printf '\n--- %s\n' "$*"; }
person() { # a clone of the team's repository in $1, with this machine's own key
  git clone -q "$work/origin.git" "$work/$1"
  cd "$work/$1"
  git config user.name "$1"
  git config user.email "$1@example.org"
}
key() { dvc remote modify --local store keyfile "$work/key"; }
executed() { # the stages that a log says were executed
  grep -o "^Running stage '[^']*'" "$1" | sort -u | sed "s/Running stage //" | tr '\n' ' '
}
experiments=("method.alpha=10" "method.seed=1" "method.name=kmeans")

git init -q --bare "$work/origin.git"
git -C "$product" push -q "$work/origin.git" HEAD:refs/heads/main
git -C "$work/origin.git" symbolic-ref HEAD refs/heads/main

say "one clone sets the remote up, runs the workflow and three experiments"
person ada
python -m distillation recipes use matching/dm-cifar10-1 --quick
sed -i 's/^  threads: .*/  threads: 1/' params.yaml
dvc remote add -d store "ssh://$(id -un)@127.0.0.1:$port$work/store"
dvc config exp.auto_push true
dvc config exp.git_remote origin
key
python -m distillation doctor
dvc repro >"$work/repro.log"
git add -A
git commit -qm "Small, for this test; the team's remote"
git push -q
dvc push -q --run-cache
for experiment in "${experiments[@]}"; do
  git checkout -q . # an experiment in the workspace leaves its parameters there
  dvc exp run -S "$experiment" >"$work/ada.log" 2>&1 || { cat "$work/ada.log"; exit 1; }
  say "ada: dvc exp run -S $experiment executed: $(executed "$work/ada.log")"
done

say "another clone repeats them"
person bob
key
for experiment in "${experiments[@]}"; do
  git checkout -q .
  dvc exp run --pull -S "$experiment" >"$work/bob.log" 2>&1 || { cat "$work/bob.log"; exit 1; }
  say "bob: dvc exp run --pull -S $experiment executed: $(executed "$work/bob.log")"
  [ "$(executed "$work/bob.log")" = "'report' " ] || { cat "$work/bob.log"; exit 1; }
done

say "a third pulls and reproduces"
person eve
key
dvc pull -q
dvc repro >"$work/eve.log"
[ -z "$(executed "$work/eve.log")" ] || { cat "$work/eve.log"; exit 1; }
say "eve: dvc pull; dvc repro executed nothing"
