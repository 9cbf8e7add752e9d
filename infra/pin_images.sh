#!/bin/sh
# Pins the images of compose.yaml and the bases of the Dockerfile by the digests that their registry has for their tags today:
# for who deploys them. Run it again for newer ones. Needs Docker with buildx, and the registry.
set -eu
cd "$(dirname "$0")"
files="compose.yaml Dockerfile"
# shellcheck disable=SC2086
images=$(sed -nE 's/^(FROM|    image:) ([^ @]+)(@[^ ]*)?( .*)?$/\2/p' $files | grep : | sort -u)
for image in $images; do
    digest=$(docker buildx imagetools inspect "$image" --format '{{.Manifest.Digest}}')
    echo "$image@$digest"
    # shellcheck disable=SC2086
    sed -i -E "s#^(FROM|    image:) $image(@[^ ]*)?( .*)?\$#\1 $image@$digest\3#" $files
done
