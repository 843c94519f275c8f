"""What has to be said about an entry point before its parameters can be read: where its source stands."""

from dataclasses import dataclass

ALL = "all"
POPPED = "popped"  # only names that the body removes from its **kwargs: the rest is meant for somebody else
BODY = "body"  # every name in the body, none of the signature, which is internal


@dataclass(frozen=True)
class Part:
    """One function or class whose parameters an entry point has.

    Attributes:
        module: path inside the package.
        name: `function`, `Class` (its constructor) or `Class.method`.
    """

    module: str
    name: str
    take: str = ALL

    @property
    def is_method(self) -> bool:
        """Whether one method is read, and not a constructor, which may call any other."""
        return "." in self.name and not self.name.endswith(".__init__")


@dataclass(frozen=True)
class Use:
    """Where an entry point uses an object that another entry point makes, such as a generation config.

    Attributes:
        entry_point: of the object; its parameters are meant.
        names: variables that hold the object.
        modules: those whose code reads the object's attributes.
        maker: a method that makes processors from the object; the entry point gives it nothing else.
        processors: the module of the processors' classes.
        standing: the class attribute by which a processor says whether the entry point may use it.
    """

    entry_point: str
    names: tuple[str, ...]
    modules: tuple[str, ...]
    maker: Part
    processors: str
    standing: str


@dataclass(frozen=True)
class Recipe:
    """An entry point and where its parameters are read.

    Attributes:
        name: the dotted name that users import.
        parts: outermost first; where two have a parameter in common the outer one's default applies.
        open: whether further names are accepted; None leaves it to the source.
        given: parameters that are passed in every call.
        defaults: `Class.method` in the first part's module that returns the defaults applied later, as a dict.
        fallback: a function whose signature's defaults apply where this one's are None.
        handed: (module, variable) of a dict whose entries become the arguments; defaults given there apply.
        constants: (parameter, module, name) of module constants that apply where the parameter is None.
        uses: an object that it gets, of whose parameters it may act on a part only.
        nested: a folder of the package; its classes that the parameters' types name are entry points, too, and so on.
    """

    name: str
    parts: tuple[Part, ...]
    open: bool | None = None
    given: tuple[str, ...] = ()
    defaults: str = ""
    fallback: Part | None = None
    handed: tuple[str, str] | None = None
    constants: tuple[tuple[str, str, str], ...] = ()
    uses: Use | None = None
    nested: str = ""


@dataclass(frozen=True)
class Family:
    """Every subclass of `base` in a module, each an entry point of its own.

    Attributes:
        exporter: the module whose text lists the public names; others are named by their module.
    """

    module: str
    base: str
    prefix: str
    exporter: str


@dataclass(frozen=True)
class Settling:
    """Where configuration is set once more after it was made of the arguments.

    Attributes:
        entry_point: whose parameters are meant, beside those of the config classes themselves.
        arguments: the class that has these parameters as fields and hands them on to config classes.
        folder: of the config classes.
        engine: modules of the start-up code.
        platforms: (module, the platform's name).
        text: what stands in every function that sets a configuration of another class.
    """

    entry_point: str
    arguments: Part
    folder: str
    engine: tuple[str, ...]
    platforms: tuple[tuple[str, str], ...]
    text: str


@dataclass(frozen=True)
class Interest:
    """Which functions of a module anybody reads, by name or by a text that they contain."""

    names: frozenset[str]
    texts: tuple[str, ...]

    def covers(self, name: str, body: str) -> bool:
        return name in self.names or any(text in body for text in self.texts)


@dataclass(frozen=True)
class Package:
    """One package of a backend: entry points that each version either has or lacks.

    Attributes:
        name: under which it is imported.
        builds: names of further distributions that bring the same package, such as a build for another platform.
    """

    backend: str
    name: str
    recipes: tuple[Recipe, ...]
    families: tuple[Family, ...] = ()
    required: tuple[str, ...] = ()  # modules without which this is not the package
    followed: tuple[str, ...] = ()  # modules and folders in which imported names are looked up
    builds: tuple[str, ...] = ()
    settling: Settling | None = None

    @property
    def distributions(self) -> tuple[str, ...]:
        """The names under which the package can be installed."""
        return (self.name, *self.builds)

    def build(self, distribution: str) -> dict[str, str]:
        """What a surface's provenance says of a distribution that is not named like the package."""
        return {} if distribution == self.name else {"distribution": distribution}

    def interests(self) -> dict[str, Interest]:
        """Module to the functions read from it, for modules that are read for single functions only.

        A module that is read for a class or a function as well is read whole.
        """
        parts = [part for recipe in self.recipes for part in (*recipe.parts, recipe.fallback) if part is not None]
        uses = [recipe.uses for recipe in self.recipes if recipe.uses is not None]
        parts += [use.maker for use in uses] + [Part(use.processors, ".__call__") for use in uses]
        whole = {family.module for family in self.families} | {part.module for part in parts if not part.is_method}
        texts = [(module, f"{name}.pop(") for module, name in (r.handed for r in self.recipes if r.handed)]
        texts += [(module, name) for use in uses for module in use.modules for name in use.names]
        if self.settling is not None:
            platforms = [module for module, _ in self.settling.platforms]
            texts += [(module, self.settling.text) for module in (*self.settling.engine, *platforms)]
        return {
            member: Interest(
                frozenset(part.name.rpartition(".")[2] for part in parts if part.module == member),
                tuple(text for module, text in texts if module == member),
            )
            for member in ({part.module for part in parts} | {module for module, _ in texts}) - whole
        }
