"""Vocabulary of the generated shop: product types with their words, prices and options. All invented here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Ware:
    """One product type."""

    noun: str
    """Plural, as in an instruction."""
    path: tuple[str, ...]
    """Shop categories below the department."""
    price: tuple[float, float]
    """Dollars, lowest and highest."""
    options: tuple[str, ...] = ("color",)
    extra: tuple[str, ...] = ()
    """Attributes of this type only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Department:
    """A department of the shop."""

    name: str
    title: str
    attributes: tuple[str, ...]
    wares: tuple[Ware, ...]


def _w(noun: str, path: str, low: float, high: float, options: str = "color", extra: str = "") -> Ware:
    return Ware(
        noun=noun,
        path=tuple(path.split("/")),
        price=(low, high),
        options=tuple(options.split()),
        extra=tuple(extra.split(",")) if extra else (),
    )


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


_WEAR = "color size"
DEPARTMENTS = (
    Department(
        name="fashion",
        title="Clothing, Shoes & Jewelry",
        attributes=_list(
            "machine wash, loose fit, slim fit, long sleeve, short sleeve, elastic waist, cotton spandex, quick "
            "drying, day comfort, hand wash, polyester spandex, classic fit, drawstring closure, moisture wicking, "
            "imported zipper, soft material, wash cold, regular fit"
        ),
        wares=(
            _w("men's shorts", "Men/Clothing/Shorts", 9, 40, _WEAR, "elastic waistband,gym workout"),
            _w("women's dresses", "Women/Clothing/Dresses", 15, 80, _WEAR, "knee length,v neck"),
            _w("men's t-shirts", "Men/Clothing/Shirts", 7, 35, _WEAR, "crew neck"),
            _w("women's jeans", "Women/Clothing/Jeans", 18, 75, _WEAR, "high waist,straight leg"),
            _w("running shoes", "Men/Shoes/Athletic", 25, 120, _WEAR, "rubber sole,arch support,non slip"),
            _w("women's sandals", "Women/Shoes/Sandals", 12, 70, _WEAR, "open toe,rubber sole,ankle strap"),
            _w("winter boots", "Women/Shoes/Boots", 28, 140, _WEAR, "faux fur,rubber sole,memory foam"),
            _w("hoodies", "Men/Clothing/Hoodies", 16, 60, _WEAR, "fleece lined"),
            _w("leggings", "Women/Clothing/Leggings", 10, 45, _WEAR, "high waist,tummy control"),
            _w("wool socks", "Men/Clothing/Socks", 6, 25, _WEAR, "arch support"),
            _w("rain jackets", "Women/Clothing/Coats", 25, 130, _WEAR, "water resistant"),
            _w("backpacks", "Luggage/Backpacks", 18, 90, "color", "water resistant,laptop sleeve"),
        ),
    ),
    Department(
        name="beauty",
        title="Beauty & Personal Care",
        attributes=_list(
            "cruelty free, paraben free, sulfate free, dermatologist tested, fragrance free, long lasting, easy use, "
            "sensitive skin, natural ingredients, travel size, alcohol free, anti aging, coconut oil, tea tree, "
            "hyaluronic acid, dry skin"
        ),
        wares=(
            _w("shampoo", "Hair Care/Shampoo", 5, 35, "scent volume", "dry hair,hair growth"),
            _w("face creams", "Skin Care/Face", 8, 60, "volume", "fine lines,dark circles"),
            _w("lipsticks", "Makeup/Lips", 4, 30, "color", "highly pigmented"),
            _w("nail polish", "Nail Care/Polish", 3, 18, "color", "quick drying,non toxic"),
            _w("hair brushes", "Hair Care/Styling Tools", 5, 28, "color", "curly hair,eco friendly"),
            _w("makeup bags", "Tools/Bags & Cases", 7, 45, "color size", "easy carry,double sided"),
            _w("body lotion", "Skin Care/Body", 5, 32, "scent volume", "argan oil"),
            _w("eyeshadow palettes", "Makeup/Eyes", 8, 50, "color", "highly pigmented,easy apply"),
            _w("electric toothbrushes", "Oral Care/Toothbrushes", 15, 110, "color", "oral hygiene,sensitive teeth"),
            _w("perfume", "Fragrance/Women", 12, 120, "scent volume", "high quality"),
        ),
    ),
    Department(
        name="electronics",
        title="Electronics",
        attributes=_list(
            "plug play, high speed, easy install, fast charging, noise cancelling, water resistant, high definition, "
            "heavy duty, hands free, batteries included, carrying case, ultra hd, gold plated, wall mounted, easy carry"
        ),
        wares=(
            _w("wireless headphones", "Headphones/Over-Ear", 18, 180, "color", "stereo sound,wireless bluetooth"),
            _w("phone cases", "Cell Phones/Cases", 5, 30, "color model", "wireless charging,glass screen"),
            _w("charging cables", "Cell Phones/Cables", 4, 22, "color length", "usb port"),
            _w("bluetooth speakers", "Audio/Speakers", 15, 150, "color", "stereo sound,wireless bluetooth"),
            _w("screen protectors", "Cell Phones/Protectors", 4, 20, "model pack", "tempered glass,glass screen"),
            _w("tablet stands", "Tablets/Stands", 9, 45, "color", "aluminum alloy"),
            _w("security cameras", "Camera/Surveillance", 22, 160, "color pack", "motion detection,night vision"),
            _w("smart watches", "Wearables/Watches", 28, 220, "color size", "heart rate"),
            _w("keyboards", "Computers/Keyboards", 14, 120, "color", "aluminum alloy,wireless bluetooth"),
            _w("power banks", "Cell Phones/Chargers", 13, 70, "color capacity", "usb port"),
        ),
    ),
    Department(
        name="grocery",
        title="Grocery & Gourmet Food",
        attributes=_list(
            "gluten free, sugar free, low calorie, non gmo, dairy free, usda organic, keto friendly, low sodium, "
            "individually wrapped, natural flavors, artificial colors, high protein, plant based, resealable bag"
        ),
        wares=(
            _w("protein bars", "Snacks/Bars", 9, 40, "flavor pack", "low sugar"),
            _w("green tea", "Beverages/Tea", 5, 30, "flavor pack", "caffeine free"),
            _w("coffee beans", "Beverages/Coffee", 8, 45, "flavor weight", "dark roast"),
            _w("dried fruit", "Produce/Dried Fruit", 6, 35, "flavor weight", "ready eat"),
            _w("potato chips", "Snacks/Chips", 4, 28, "flavor pack", "kettle cooked"),
            _w("pasta sauce", "Sauces/Pasta", 5, 26, "flavor weight", "fully cooked"),
            _w("chocolate bars", "Candy/Chocolate", 4, 32, "flavor pack", "great gift"),
            _w("trail mix", "Snacks/Nuts", 6, 36, "flavor weight", "ready eat"),
        ),
    ),
    Department(
        name="garden",
        title="Home & Kitchen",
        attributes=_list(
            "easy clean, easy assemble, space saving, machine washable, stainless steel, heavy duty, eco friendly, non "
            "slip, super soft, solid wood, assembly required, white finish, dining room, living room, fade resistant"
        ),
        wares=(
            _w("throw pillows", "Bedding/Pillows", 7, 40, "color dimensions", "double sided"),
            _w("window curtains", "Decor/Curtains", 14, 75, "color dimensions", "blackout fabric"),
            _w("bar stools", "Furniture/Stools", 35, 220, "color", "pu leather,lumbar support"),
            _w("storage baskets", "Storage/Baskets", 8, 50, "color dimensions", "easy carry"),
            _w("bath towels", "Bath/Towels", 9, 55, "color pack", "quick drying"),
            _w("table lamps", "Lighting/Lamps", 15, 95, "color", "glass shade,energy efficient"),
            _w("water bottles", "Kitchen/Bottles", 8, 42, "color capacity", "bpa free,leak proof"),
            _w("area rugs", "Decor/Rugs", 20, 190, "color dimensions", "easy care"),
            _w("frying pans", "Kitchen/Cookware", 14, 90, "diameter", "dishwasher safe"),
            _w("wall art", "Decor/Art", 11, 80, "style dimensions", "ready hang"),
        ),
    ),
)

VALUES = {
    "color": _list(
        "black, white, navy blue, red, forest green, grey, pink, beige, purple, brown, yellow, light blue, burgundy, "
        "teal, orange, ivory"
    ),
    "size": _list("small, medium, large, x-large, xx-large, 3x-large"),
    "volume": _list("50 ml, 100 ml, 250 ml, 500 ml, 1 liter"),
    "weight": _list("8 ounce, 1 pound, 2 pounds, 5 pounds"),
    "dimensions": _list("12 x 12 inches, 16 x 24 inches, 20 x 30 inches, 36 x 48 inches"),
    "diameter": _list("8 inch, 10 inch, 12 inch"),
    "scent": _list("lavender, vanilla, unscented, rose, citrus, ocean breeze, sandalwood, mint"),
    "flavor": _list("original, vanilla, sea salt, peanut butter, lemon, mixed berry, cinnamon, spicy, maple, coconut"),
    "pack": _list("pack of 1, pack of 2, pack of 3, pack of 6, pack of 12"),
    "model": _list("iphone 11, iphone 12, iphone 13 pro, galaxy s20, galaxy s21, pixel 6"),
    "length": _list("3 feet, 6 feet, 10 feet"),
    "capacity": _list("12 ounce, 20 ounce, 32 ounce, 64 ounce"),
    "style": _list("abstract, floral, city skyline, mountain, ocean, vintage map"),
}
"""Option name → values, without colour words outside "color"."""

BRANDS = _list(
    "Alderway, Brightfold, Cobalt & Pine, Dovetail, Everlea, Fennick, Grovemark, Halden, Inkwell, Juniper Lane, "
    "Kestrel, Lumora, Merrow, Northglen, Oakhurst, Pellworth, Quillon, Riverstead, Solvane, Thistledown, Umberly, "
    "Varden, Westmoor, Yarrowby, Zephyrine"
)
PRAISE = _list(
    "everyday, premium, modern, compact, handy, reliable, refined, sturdy, cozy, practical, signature, essential"
)
FOR = _list("home, travel, work, gifts, students, weekends, outdoor trips, small spaces, families, daily use")
SENTENCES = (
    "Made for {use}. Standard here: {a}.",
    "{a}. Tested by people who use {noun} every day.",
    "Customers choose it for this: {a}.",
    "A {praise} choice for {use}.",
    "The {brand} promise: {noun} that last.",
    "Questions? Write to us and we answer within a day.",
)
