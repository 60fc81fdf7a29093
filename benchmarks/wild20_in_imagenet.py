"""The photographs of wild20 whose classes ImageNet has, under ImageNet's labels."""

import dataclasses

from timm.data.imagenet_info import ImageNetInfo

from bsoftmax.data.sets import ImageSet

IN_IMAGENET = {  # by WordNet ID
    "african_leopard": "n02128385", "cassette_player": "n02979186", "chain_saw": "n03000684", "cheetah": "n02130308",
    "church": "n03028079", "english_springer": "n02102040", "french_horn": "n03394916", "garbage_truck": "n03417042",
    "gas_pump": "n03425413", "golf_ball": "n03445777", "jaguar": "n02128925", "lion": "n02129165",
    "parachute": "n03888257", "puma": "n02125311", "snow_leopard": "n02128757", "tench": "n01440764",
    "tiger": "n02129604",
}  # fmt: skip


def in_imagenet(images: ImageSet) -> ImageSet:
    """The images whose classes ImageNet has, under the thousand labels."""
    info = ImageNetInfo()
    number = {info.index_to_label_name(k): k for k in range(1000)}
    keep = [n for n, k in enumerate(images.labels) if images.classes[k] in IN_IMAGENET]
    kept = images.subset(keep)
    labels = tuple(number[IN_IMAGENET[images.classes[k]]] for k in kept.labels)
    return dataclasses.replace(kept, labels=labels, classes=tuple(map(str, range(1000))))
