"""The public sequences that the built-in models learn from: package, file, checksum, records, held-out ranges."""

from dataclasses import dataclass, field
from typing import Literal

Reader = Literal["fasta", "genbank", "maf", "tar"]

FORBIDDEN = ("hs37chrXtrunc", "NC_000023", "NC_003552", "Methanosarcina")
"""Marks of human chromosome X and Methanosarcina acetivorans, which are kept for final tests: no source has one."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file of a Debian package and what is taken from it.

    Attributes:
        organism: Scientific name, as the model card lists it.
        package: Debian package that holds the file.
        path: File inside the unpacked package; for `tar`, ARCHIVE!MEMBER.
        sha256: Of the file (of the archive, for `tar`), as packaged.
        accession: Accessions or assembly of the sequence.
        reader: How the file is read.
        records: First words of the headers to take; empty = all.
        validation: Name of the validation file that `held_out` goes to.
        held_out: Per record, the 0-based half-open range that is kept out of training.
    """

    organism: str
    package: str
    path: str
    sha256: str
    accession: str
    reader: Reader = "fasta"
    records: tuple[str, ...] = ()
    validation: str = ""
    held_out: dict[str, tuple[int, int]] = field(default_factory=dict)


_AUGUSTUS = "usr/share/doc/augustus/tutorial/data"
_COMPARATIVE = "usr/share/doc/augustus/tutorial-cgp/data/genomes"
_CCT = "usr/share/doc/cct/examples/sample_projects"
_MAFFILTER = "usr/share/doc/maffilter/examples"
_RAGOUT = "usr/share/doc/ragout/examples"

_HUMAN = "Homo sapiens"

SOURCES: tuple[Source, ...] = (
    Source(
        _HUMAN,
        "vt-examples",
        "usr/share/doc/vt/examples/ref/20.fa.gz",
        "83c80b3fb23822ff0a66f26306e46f5db3c83d48fcff68bcddc353a3d8ef581b",
        "NC_000020.10 (GRCh37 chr20)",
        validation="human_chr20_60M",
        held_out={"20": (60_000_000, 63_025_520)},
    ),
    Source(
        _HUMAN,
        "maffilter-examples",
        f"{_MAFFILTER}/Gorilla/Compara.epo_5_catarrhini_hsap-projected.chr22.subset.nogap.cleaned_aln.maf.gz",
        "f0b90e62f4a1e640c066734bdc9ff60717f1b9815c962e3ce71171d75d396c41",
        "NC_000022.10 (GRCh37 chr22, aligned blocks)",
        reader="maf",
        records=("Hsap.22",),
    ),
    Source(
        _HUMAN,
        "augustus-doc",
        f"{_AUGUSTUS}/chr3.42M.fa",
        "cc1383731b272c9587eac66c9dc19439fbddadee0414bafa3b996cda44c27029",
        "human chr3, 2 Mb",
    ),
    Source(
        _HUMAN,
        "augustus-doc",
        f"{_AUGUSTUS}/chr4.103M.fa",
        "4d4431643be7625dd1ba070991806835d2fb7c94dd0894897a5eb95e7a566229",
        "human chr4, 2 Mb",
    ),
    Source(
        _HUMAN,
        "augustus-doc",
        f"{_AUGUSTUS}/chr5.124M.fa",
        "248fe24571c969cb83303384205e7de28c1f7fd842431a305b1da9e2f9530e4a",
        "human chr5, 2 Mb",
    ),
    Source(
        _HUMAN,
        "augustus-doc",
        f"{_COMPARATIVE}/hg38.fa",
        "b391dd0ef768bfbfae787ce9fd947e9d380e37d7b2817579042bc543a6d31c7a",
        "GRCh38 chr16, 0.2 Mb",
    ),
    Source(
        _HUMAN,
        "emboss-test",
        "usr/share/EMBOSS/test/genbank/gbpri1.seq",
        "b42af44bd23cf6e9ff295d499d6998ac132c8f2e171cb3f3f22a4282390b0b80",
        "BA000025.2 (chr6, HLA class I), U01317.1 (chr11, beta globins)",
        reader="genbank",
        records=("BA000025.2", "U01317.1"),
    ),
    Source(
        _HUMAN,
        "cct-examples",
        f"{_CCT}/sample_project_5/comparison_genomes/Human_mito.gbk.gz",
        "fc9d07e48a3a29900c03cc3fdac31387c2802ca8895a3f37519a4d0c4d4646be",
        "NC_001807.4 (mitochondrion)",
        reader="genbank",
    ),
    Source(
        "Macaca mulatta",
        "augustus-doc",
        f"{_COMPARATIVE}/rheMac3.fa",
        "0e3b8af8ed04b16897ebb2ea05c4b6d7ea7b7b0c7f5bf1e589bc76d12ab150e8",
        "rheMac3 chr20, 0.2 Mb",
    ),
    Source(
        "Mus musculus",
        "augustus-doc",
        f"{_COMPARATIVE}/mm10.fa",
        "3be109e6293c18ab0e278e2226169186b043aeb9edb0977d55d82e97454dcd48",
        "mm10 chr17, 0.2 Mb",
    ),
    Source(
        "Rattus norvegicus",
        "augustus-doc",
        f"{_COMPARATIVE}/rn6.fa",
        "33531fa8240447d4483f3cbc85b60fe92c442b63eec840bddb2d0b73998c9369",
        "rn6 chr10, 0.1 Mb",
    ),
    Source(
        "Bos taurus",
        "augustus-doc",
        f"{_COMPARATIVE}/bosTau8.fa",
        "93c4d4062d92f0d43b31f8d55a496962b4ec85e3d5290bae4591e447ce6a5768",
        "bosTau8 chr25, 0.2 Mb",
    ),
    Source(
        "Canis lupus familiaris",
        "augustus-doc",
        f"{_COMPARATIVE}/canFam3.fa",
        "6865d6493c812a10171be1ee2101a9884763adb80dd2012f540c13b755108074",
        "canFam3 chr6, 0.2 Mb",
    ),
    Source(
        "Monodelphis domestica",
        "augustus-doc",
        f"{_COMPARATIVE}/monDom5.fa",
        "18e0ea52d6c4d3d72c363d9803c7c4fed89c2e3d3d187b162fd0e89d52fb0554",
        "monDom5 chr6, 0.5 Mb",
    ),
    Source(
        "Gallus gallus",
        "augustus-doc",
        f"{_COMPARATIVE}/galGal4.fa",
        "67244a3eebf37b9349e2bf4c90e428c195353b5039b42f33bbc4ff4460f72273",
        "galGal4 chr14, 0.15 Mb",
    ),
    Source(
        "Drosophila melanogaster",
        "augustus-doc",
        f"{_AUGUSTUS}/chr2R.fa",
        "dcf0f58d162c93f8f629d2f55374e916015987092f0fefdd0bbeb03c3e854547",
        "chr2R (dm3)",
        validation="fly_chr2R_20M",
        held_out={"chr2R": (20_500_000, 21_000_000)},
    ),
    Source(
        "Caenorhabditis elegans",
        "r-bioc-bsgenome",
        "usr/lib/R/site-library/BSgenome/extdata/ce2chrX.fa.gz",
        "da27922b3707adff40ff59232ea8746aaa2cc08b7413ebd33d5d167a93b236dd",
        "chrX (ce2)",
    ),
    Source(
        "Ustilago maydis",
        "maffilter-examples",
        f"{_MAFFILTER}/Umaydis/Umaydis.fasta.gz",
        "c17536af09c2b7828fc14aa86bb13eaa364cdaca416879248597c3454a107e4f",
        "chromosomes 1 to 6",
        records=(
            "Umaydis:chr01:1:+:2476500",
            "Umaydis:chr02:1:+:1879391",
            "Umaydis:chr03:1:+:1633472",
            "Umaydis:chr04:1:+:885077",
            "Umaydis:chr05:1:+:1393418",
            "Umaydis:chr06:1:+:1031380",
        ),
    ),
    Source(
        "Dictyostelium discoideum",
        "spaln-data",
        "usr/share/spaln/seqdb/dictdisc_g.gf.gz",
        "a7c1595de7c43af7283dc2ff0787b7ebd5031a533c938e8c061caccc49e73909",
        "NC_007088.4 (chromosome 2)",
        records=("Dictdisc2",),
    ),
    Source(
        "Plasmodium falciparum",
        "smalt-examples",
        "usr/share/doc/smalt/test/data/genome_1.fa.gz",
        "bd83ff1c99ed96e28e2f8efd976e09b51e45c0ea988bdf8caf7286ecd2986788",
        "3D7 chromosomes 12 to 14",
        records=("MAL12", "MAL13", "MAL14"),
    ),
    Source(
        "Saccharomyces cerevisiae",
        "gbrowse-data",
        "var/lib/gbrowse/databases/yeast_scaffolds/chr1.fa",
        "96ce637c5c5190878f32295d2d24572be21edccbf050b714f37f4e7013b024d1",
        "NC_001133 (chrI)",
    ),
    Source(
        "Saccharomyces cerevisiae",
        "gbrowse-data",
        "var/lib/gbrowse/databases/yeast_scaffolds/chr2.fa",
        "471663c733507e17c422b83d50be7b6097935cbc1a92f624601167fe9cea8fa6",
        "NC_001134 (chrII)",
    ),
    Source(
        "Escherichia coli",
        "cct-examples",
        f"{_CCT}/sample_project_5/comparison_genomes/E_coli.gbk.gz",
        "f5ccb73d0c68da186481e842b5d7df2bdcbb99b9edbc30f8abc8927dd589d4d4",
        "NC_000913.2 (K-12 MG1655)",
        reader="genbank",
        validation="ecoli_4.3M",
        held_out={"NC_000913.2": (4_300_000, 4_639_675)},
    ),
    Source(
        "Bradyrhizobium japonicum",
        "cct-examples",
        f"{_CCT}/sample_project_3/reference_genome/NC_004463.gbk.gz",
        "3f32bd902bff9b66abc170a6a6293575cab2609339297e0fcc7529722dddc7ad",
        "NC_004463.1",
        reader="genbank",
    ),
    Source(
        "Roseobacter denitrificans",
        "cct-examples",
        "usr/share/cct/lib/scripts/get_orfs/test_input/R_denitrificans.gbk",
        "6c96fca8e8c66c4b2723ca4a59d47426e009487f2c32edd97fcfc40c75ef787c",
        "NC_008209",
        reader="genbank",
    ),
    Source(
        "Vibrio cholerae",
        "ragout-examples",
        f"{_RAGOUT}/V.Cholerae/references/O1_biovar.fasta.gz",
        "ef8ecca73105608a904c9e81973ef3af472096e349a463fbec324411c6566cc9",
        "AE003852.1, AE003853.1",
    ),
    Source(
        "Klebsiella pneumoniae",
        "kleborate-examples",
        "usr/share/doc/kleborate/examples/data/MGH78578.fna.xz",
        "0a0ebeedf5f630821e6a5007969b86aff724e219b0fbcd601ce928103ddf6c7b",
        "CP000647.1 to CP000652.1",
    ),
    Source(
        "Helicobacter pylori",
        "ragout-examples",
        f"{_RAGOUT}/H.Pylori/references/G27.fasta.gz",
        "80dd2ad4125b47fa644350cec0bee7bf3956e379bf3e3e97a25e9c17ba297658",
        "NC_011333.1",
    ),
    Source(
        "Staphylococcus aureus",
        "ragout-examples",
        f"{_RAGOUT}/S.Aureus/references/N315.fasta.gz",
        "f00af0fea6d59d4aef1cac64be57a5215739b7c23fae7f6bc0d44e1f9805a0e9",
        "NC_002745.2",
    ),
    Source(
        "Mycobacterium tuberculosis",
        "kmer-examples",
        "usr/share/doc/kmer-examples/test_data.tar.gz!GCF_000195955.2_ASM19595v2_genomic.fna",
        "9fb12246d5175e52d6508719a0c4655ce82381c77fdd2a42b606b10343707921",
        "NC_000962.3",
        reader="tar",
    ),
    Source(
        "Mycobacterium leprae",
        "kmer-examples",
        "usr/share/doc/kmer-examples/test_data.tar.gz!GCF_000195855.1_ASM19585v1_genomic.fna",
        "9fb12246d5175e52d6508719a0c4655ce82381c77fdd2a42b606b10343707921",
        "NC_002677.1",
        reader="tar",
    ),
    Source(
        "Methanobacterium thermoautotrophicum",
        "cct-examples",
        f"{_CCT}/sample_project_2/reference_genome/Methanobacterium_thermoautotrophicum.gbk.gz",
        "cfcc46f617c9abd328e329b75cb9a7ff06f4ad135f99e8afa54237ec3399d92b",
        "NC_000916.1",
        reader="genbank",
    ),
    Source(
        "Methanococcus maripaludis",
        "cct-examples",
        f"{_CCT}/sample_project_2/comparison_genomes/Methanococcus_maripaludis.gbk.gz",
        "187c0b1de0fb48301b6b1e18c8b35c5c030bbc17cd83317e3bf59d61d76b2682",
        "NC_005791.1",
        reader="genbank",
    ),
    Source(
        "Thermococcus kodakarensis",
        "cct-examples",
        f"{_CCT}/sample_project_2/comparison_genomes/Thermococcus_kodakaraensis.gbk.gz",
        "e96f8d5cd4178bb9d187d710087def380d7ab6ac98950a595296184da08bb9d3",
        "NC_006624.1",
        reader="genbank",
    ),
    Source(
        "Arabidopsis thaliana",
        "cct-examples",
        f"{_CCT}/sample_project_5/comparison_genomes/Arabidopsis_mito.gbk.gz",
        "0d087d21a099eb0d705c23e9dc71c8ebca9e523e89542c9b9a971f87514c5f85",
        "NC_001284.2 (mitochondrion)",
        reader="genbank",
    ),
    Source(
        "Reclinomonas americana",
        "cct-examples",
        f"{_CCT}/sample_project_5/reference_genome/NC_001823.gbk.gz",
        "6c9609a26ca49db40ba68c4f1b39ee9e1515b7c0338d90e4dcee25ca7202b3df",
        "NC_001823.1 (mitochondrion)",
        reader="genbank",
    ),
)
