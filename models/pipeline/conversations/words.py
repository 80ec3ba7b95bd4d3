"""The word lists of the data. All of it is everyday vocabulary, written for this project."""

# ruff: noqa: SIM905 (a word list reads better as a sentence)

NAMES = """Alice Bob Carol David Emma Frank Grace Henry Ivy Jack Kate Liam Mia Noah Olivia Paul Quinn Rosa Sam Tina Uma
Victor Wendy Xavier Yara Zoe Anna Ben Chloe Dan Ella Finn Gina Hugo Iris Jonas Karen Leo Maria Nina Oscar Petra Rahul
Sara Tom Ursula Vera Walter Yuki Zane Aisha Bruno Clara Diego Elena Felix Greta Hassan Ines Julia Kofi Lena Marco Nadia
Omar Priya Ravi Sofia Theo Wei Ahmed Bella Carlos Diana Eric Fatima George Hannah Ian Jane Kevin Laura Mark Nora Peter
Rachel Simon Teresa Linda John Mary James Robert Lucy Max Toby Milo Ada Alan Susan""".split()
UNSEEN_NAMES = "Agnes Boris Celia Dmitri Edith Farid Gloria Hector Ingrid Jorge Kiran Lorenzo Miriam Nigel Otto".split()

CITIES = """San Francisco|Paris|London|Tokyo|Berlin|Madrid|Rome|New York|Oslo|Vienna|Lisbon|Dublin|Prague|Warsaw|Athens
Cairo|Lima|Boston|Chicago|Seattle|Denver|Austin|Miami|Toronto|Sydney|Mumbai|Delhi|Beijing|Seoul|Bangkok|Hanoi|Nairobi
Lagos|Accra|Zurich|Geneva|Milan|Naples|Munich|Hamburg|Lyon|Nice|Porto|Seville|Los Angeles|San Diego|Las Vegas|Hong Kong
Mexico City|Cape Town|Buenos Aires|Rio de Janeiro|Stockholm|Helsinki|Copenhagen|Brussels|Amsterdam|Budapest|Kyoto|Osaka
Perth|Quito|Bogota|Havana|Dakar|Tunis|Doha|Dubai|Jakarta|Manila|Dallas|Houston|Portland|Montreal|Vancouver|Bristol
Leeds|Glasgow|Cardiff|Turin|Florence|Venice|San Jose|Singapore|Istanbul|Paris, France|Berlin, Germany
Boston, MA|San Francisco, CA|Tokyo, Japan|Bogotá, Colombia|Zürich|São Paulo""".replace("\n", "|").split("|")
UNSEEN_CITIES = ("Reykjavik|Tallinn|Salt Lake City|Kansas City|Ankara|Marseille|Valencia|Sofia|Riga|Oxford|Ghent|Nantes"
                 "|Santa Fe|Baltimore|Kuala Lumpur|Santiago").split("|")

COLOURS = "red blue green yellow orange purple pink brown black white gray teal violet gold silver crimson".split()
ANIMALS = """cat dog fox bear rabbit owl horse lion tiger mouse duck frog turtle unicorn wolf goat sheep pig hen bee
whale dragon panda otter parrot snake""".split()
FOODS = """pizza pasta rice soup bread cheese salad cake apple banana mango sushi tacos curry noodles honey chocolate
tea coffee pie""".split()
NOUNS = """book lamp table chair garden river stone cloud song letter boat key clock coat ship hill tree star mirror
basket rope bottle drum kite ladder pencil window bridge candle ticket report order file task note invoice project
meeting account message package room event device alarm light recipe movie flight hotel track photo stock score profile
contact world test house water paper number line page""".split()
ADJECTIVES = """small big old new bright quiet happy brave warm cold soft strange shiny tall tiny kind clever lazy proud
gentle""".split()
JOBS = """teacher doctor baker pilot farmer painter nurse lawyer writer engineer singer driver chef dentist
plumber""".split()
HOBBIES = "chess painting swimming cooking hiking reading dancing fishing running singing gardening cycling".split()
FUNCTION_WORDS = "the a is it this that we you and or in on with for to of my not very hello yes good ok".split()
EVERYDAY = """double bubble bath recursion programming function python simple science quantum physics computer internet
question answer morning evening summer winter spring autumn weather thunder lightning mountain valley ocean beach sand
people person child mother father brother sister family friend teacher school student university library hospital doctor
market money business company office worker manager engineer software hardware network server client database memory
language english french german spanish italian russian chinese japanese translate sentence paragraph chapter story poem
music guitar piano violin concert theatre cinema picture painting colour shape circle square triangle number hundred
thousand million minute second hour week month year yesterday today tomorrow always never sometimes often usually
beautiful wonderful strange terrible important different similar possible impossible difficult easy quick slow heavy
light strong weak young ancient modern future history culture country government president minister election law police
think know understand believe remember forget learn teach write read speak listen watch walk run jump swim drive travel
build break open close start stop begin finish continue create destroy change improve develop design describe explain
breakfast lunch dinner kitchen table spoon knife fork plate glass water juice coffee sugar butter vegetable potato
tomato onion carrot
strawberry orange lemon cherry kitchen bedroom bathroom floor ceiling window door street road bridge tower
airport station train bicycle vehicle engine wheel machine robot planet universe galaxy energy power electricity oxygen
javascript typescript kubernetes docker semicolon variable boolean integer string object array async token tokenizer
the a is it this that we you and or in on with for to of my not very there here what when where why how""".split()
COMMON = [EVERYDAY, EVERYDAY, NOUNS, ANIMALS, FOODS, COLOURS, ADJECTIVES, HOBBIES, JOBS, FUNCTION_WORDS]

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
LISTS = {
    "days of the week": DAYS,
    "months of the year": MONTHS,
    "colours of the rainbow": "red orange yellow green blue indigo violet".split(),
    "colors of the rainbow": "red orange yellow green blue indigo violet".split(),
    "four seasons": "spring summer autumn winter".split(),
    "planets": "Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune".split(),
    "vowels": list("aeiou"),
    "primary colours": "red yellow blue".split(),
    "primary colors": "red yellow blue".split(),
    "letters of the alphabet": list("abcdefghijklmnopqrstuvwxyz"),
    "continents": ["Africa", "Antarctica", "Asia", "Australia", "Europe", "North America", "South America"],
    "five senses": "sight hearing smell taste touch".split(),
    "oceans": "Atlantic Pacific Indian Arctic Southern".split(),
}
PLAIN_LISTS = {"colors": COLOURS, "colours": COLOURS, "animals": ANIMALS,
               "fruits": "apple banana mango pear plum cherry \
peach grape lemon orange".split(), "foods": FOODS, "numbers": "1 2 3 4 5 6 7 8 9 10".split(), "hobbies": HOBBIES,
               "jobs": JOBS, "capital cities": "Paris Berlin Rome Madrid Tokyo London Lisbon Athens Cairo Lima".split(),
               "countries": "France Germany Italy Spain Japan England Portugal Greece Egypt Peru".split()}
CAPITALS = dict(pair.split(":") for pair in """France:Paris Germany:Berlin Italy:Rome Spain:Madrid Japan:Tokyo
England:London Portugal:Lisbon Greece:Athens Egypt:Cairo Peru:Lima Norway:Oslo Austria:Vienna Ireland:Dublin
Poland:Warsaw China:Beijing Kenya:Nairobi Cuba:Havana Canada:Ottawa Sweden:Stockholm Finland:Helsinki Denmark:Copenhagen
Belgium:Brussels Hungary:Budapest Russia:Moscow Turkey:Ankara India:Delhi Australia:Canberra Brazil:Brasilia
Chile:Santiago Colombia:Bogota Thailand:Bangkok Vietnam:Hanoi Iceland:Reykjavik Scotland:Edinburgh Wales:Cardiff
Switzerland:Bern Ukraine:Kyiv Romania:Bucharest Bulgaria:Sofia Croatia:Zagreb Serbia:Belgrade Morocco:Rabat
Ghana:Accra Nepal:Kathmandu Iran:Tehran Iraq:Baghdad Qatar:Doha Senegal:Dakar Uruguay:Montevideo Ecuador:Quito
Latvia:Riga Estonia:Tallinn Lithuania:Vilnius Slovakia:Bratislava Slovenia:Ljubljana Indonesia:Jakarta
Philippines:Manila Netherlands:Amsterdam Czechia:Prague""".split())
OPPOSITES = dict(pair.split(":") for pair in """hot:cold big:small up:down fast:slow happy:sad old:new day:night
left:right open:closed wet:dry full:empty light:dark high:low long:short rich:poor hard:soft good:bad early:late
near:far true:false""".split())
